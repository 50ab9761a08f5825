"""The autoencoder: the coarse grid, bounds, translations, rows, and that training by the usual run makes its error fall and resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from laws import operator_laws

from surrogates.contracts import Operator
from surrogates.data.module import DataModule
from surrogates.domains import Box, Sphere
from surrogates.latent import Autoencoder, Reconstruction
from surrogates.record import construct, describe
from surrogates.refine.conditioning import member_mean
from surrogates.saved import load
from surrogates.target import Absolute
from surrogates.train import Optimiser, Settings, Training, train
from surrogates.train.part import part

F64 = {"dtype": torch.float64}
BOXES = [
    Box.periodic((16,), 2.0),
    Box((8, 12), (0.0, -1.0), (6.0, 1.0), ("periodic", "wall")),
    Box.periodic((4, 8, 4), (1.0, 2.0, 3.0)),
]
QUIET = Settings(progress=False, tensorboard=False, validate_every=0, log_every=1, checkpoint_every=5)


def small(dim, **more):
    torch.manual_seed(0)
    return Autoencoder(2, 2, dim=dim, **{"latent": 3, "widths": (4, 6, 8), **more}).double()


@pytest.mark.parametrize("box", BOXES, ids=lambda b: f"{b.shape}")
@pytest.mark.parametrize("walls", ["zeros", "reflect"])
def test_the_latent_grid_is_the_box_over_f(box, walls):
    f = small(box.dim, walls=walls)
    coarse = f.latent_box(box)
    assert f.factor == 4 and coarse.shape == tuple(n // 4 for n in box.shape)
    assert (coarse.lower, coarse.upper, coarse.boundary) == (box.lower, box.upper, box.boundary)
    x = torch.randn(3, 2, *box.shape, **F64)
    z = f.encode(x, box)
    assert z.shape == (3, 3, *coarse.shape) and f.decode(z, box).shape == x.shape
    torch.testing.assert_close(f(x, box), f.decode(z, box))
    assert isinstance(f, Operator)
    with torch.no_grad():
        operator_laws(f, x, box, None, rounding=1e-11)


def test_latents_stay_within_the_bound_and_small_ones_are_left_alone():
    f, box = small(1, bound=2.0), BOXES[0]
    x = torch.randn(2, 2, 16, **F64)
    with torch.no_grad():
        assert f.encode(1e4 * x, box).abs().max() < 2
        f.into.weight *= 1e-3
        f.into.bias *= 1e-3
        small_ones = f.encode(x, box)
        f.bound = 1e9
        torch.testing.assert_close(small_ones, f.encode(x, box), rtol=1e-4, atol=0)


def test_translations_by_f_points_commute():
    box, f = Box.periodic((16, 8), 1.0), small(2)
    x = torch.randn(2, 2, 16, 8, **F64)
    with torch.no_grad():
        torch.testing.assert_close(f.encode(x.roll((4, -4), (2, 3)), box), f.encode(x, box).roll((1, -1), (2, 3)))
        torch.testing.assert_close(f(x.roll((4, -4), (2, 3)), box), f(x, box).roll((4, -4), (2, 3)))


def test_mirror_images_are_not_moved():
    """Strided kernels look equally far to both sides: a field and its mirror image have latents in mirrored places."""
    f, box = small(1), BOXES[0]
    with torch.no_grad():
        for module in f.modules():
            if hasattr(module, "weight") and module.weight.ndim == 3:
                module.weight.copy_((module.weight + module.weight.flip(2)) / 2)
        x = torch.randn(1, 2, 16, **F64)
        torch.testing.assert_close(f.encode(x.flip(2), box), f.encode(x, box).flip(2))


def test_the_amplitude_of_a_field_is_not_lost():
    """No norm stands between a field and its latents: scaled fields have different latents everywhere."""
    f, box = small(1), BOXES[0]
    x = torch.randn(1, 2, 16, **F64)
    with torch.no_grad():
        assert (f.encode(3 * x, box) - f.encode(x, box)).abs().mean() > 0.1


def test_it_writes_itself_down_and_a_file_can_name_it():
    f = small(1)
    again = construct(json.loads(json.dumps(describe(f)))).double()
    again.load_state_dict(f.state_dict())
    x = torch.randn(1, 2, 16, **F64)
    assert torch.equal(again(x, BOXES[0]), f(x, BOXES[0]))
    made = part({"class": "surrogates.latent.Autoencoder", "dim": 1, "widths": [4, 8]}, "model.operator", "surrogates.operators", given=3)
    assert made(2, 2, 0).factor == 2
    assert isinstance(part({"class": "surrogates.latent.Reconstruction"}, "k", "surrogates.train.strategies")(), Reconstruction)


# -- training ------------------------------------------------------------------------------------------------------


def training(splits):
    data = DataModule(splits, batch_size=8)
    operator = partial(Autoencoder, dim=1, latent=2, widths=(8, 12))
    return Training(
        data, operator, strategy=Reconstruction(), target=Absolute(), parameters=(), optimiser=Optimiser(lr=3e-3, warmup=0, ema=0.9)
    )


def error(surrogate, splits):
    data = DataModule(splits, batch_size=16)
    batch = next(iter(data.val_dataloader()))
    u = surrogate.normaliser.encode(batch.past[:, -1])
    with torch.no_grad():
        return member_mean((surrogate.operator(u, data.domain) - u).square(), data.domain).mean().item()


def test_the_error_of_the_round_trip_falls_and_a_run_resumes(splits, tmp_path):
    begun = training(splits)
    before = error(begun.surrogate.eval(), splits)
    begun.surrogate.train()
    whole = train(begun, steps=60, settings=QUIET)
    after = error(whole.surrogate, splits)
    assert after < 0.3 * before

    class CutError(Exception):
        pass

    interrupted = training(splits)
    ordinary, count = interrupted.training_step, iter(range(1000))

    def step(batch, batch_idx):
        if next(count) == 30:
            raise CutError
        return ordinary(batch, batch_idx)

    interrupted.training_step = step
    with pytest.raises(CutError):
        train(interrupted, steps=60, out=tmp_path / "ae", settings=QUIET)
    resumed = train(training(splits), steps=60, out=tmp_path / "ae", settings=QUIET)
    assert 0 < resumed.steps < 60
    again = load(tmp_path / "ae")
    for name, value in whole.surrogate.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_validation_scores_the_round_trip_and_not_a_forecast(splits):
    run = train(training(splits), steps=2, settings=replace(QUIET, validate_every=2))
    assert set(run.log.rows["valid"][-1]) - {"step"} == {"loss"}
    assert run.log.rows["valid"][-1]["loss"] == pytest.approx(error(run.surrogate, splits), rel=1e-5)


# -- what does not fit ---------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_told():
    f = small(1)
    with pytest.raises(ValueError, match="axis x has 18 points but this Autoencoder makes one of every 4; resample to 16 or 20"):
        f.encode(torch.zeros(1, 2, 18, **F64), Box.periodic((18,), 1.0))
    with pytest.raises(TypeError, match="works on a"):
        f.latent_box(Sphere((4, 8)))
    with pytest.raises(ValueError, match="x has 3 channels"):
        f.encode(torch.zeros(1, 3, 16, **F64), BOXES[0])
    with pytest.raises(ValueError, match="gives back what it takes"):
        Autoencoder(4, 2)
    with pytest.raises(ValueError, match="`parameters: \\[\\]`"):
        Autoencoder(2, 2, 1)
    with pytest.raises(ValueError, match="levels must be at least 1"):
        Autoencoder(2, 2, widths=(8,))
    with pytest.raises(ValueError, match="bound is 0.0"):
        Autoencoder(2, 2, bound=0.0)
