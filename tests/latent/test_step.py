"""Forecasts in latent space: the data set of latents trains as any other; `Latent` is decode . surrogate . encode and a lawful Step."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from laws import step_laws
from torch import nn

from surrogates.constraints import ConservedIntegral
from surrogates.contracts import Conditions, Step
from surrogates.data import open_dataset
from surrogates.data.module import DataModule
from surrogates.deep_ensemble import DeepEnsemble
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.forecast import simulate
from surrogates.interchange import domain_of, fields_of, from_xarray, parameters_of, trajectories_of
from surrogates.latent import Latent, encode_dataset, write_dataset
from surrogates.latent.conversion import autoencoder_of, decode, encode, latent_fields
from surrogates.noise import SeededNoise
from surrogates.operators import ConvNet
from surrogates.refine import FEATURES, FlowMatching
from surrogates.rollout import rollout
from surrogates.saved import CARD, load, save
from surrogates.surrogate import Surrogate
from surrogates.target import Absolute
from surrogates.train import Settings, Training, train

FIELDS = Fields.of(Field("u", "m s-1"), Field("c", "kg m-3"))  # as in conftest
LINE, DT = Box.periodic((32,), 2.0), 0.1


def conditions(rows: int, box: Box = LINE) -> Conditions:
    one = torch.ones(rows, dtype=torch.float64)
    return Conditions(box, 0 * one, DT * one, torch.zeros(rows, 0, dtype=torch.float64))


def past(rows: int, history: int = 1, n: int = 32) -> torch.Tensor:
    return torch.randn(rows, history, 2, n, generator=torch.Generator().manual_seed(1))


class Same(nn.Module):
    """The last frame again, by a network that `describe` can write down."""

    arguments: dict[str, int] = {}

    def forward(self, x, domain, embedding=None):
        return x[:, -3:]


def inner(autoencoder: Surrogate, kind: str, history: int = 1, bundle: int = 1) -> Surrogate:
    box, made = autoencoder_of(autoencoder).latent_box(LINE), latent_fields(autoencoder)
    torch.manual_seed(1)
    guess = ConvNet(3 * history, 3 * bundle, dim=1, width=6, layers=1)
    refiner = None
    if kind == "flow":
        refiner = FlowMatching(
            ConvNet(3 * bundle * 2 + 3 * history, 3 * bundle, FEATURES, dim=1, width=6, layers=1), channels=3 * bundle, steps=2
        )
    operator = Same() if kind == "same" else guess
    return Surrogate(made, box, DT, operator=operator, refiner=refiner, target=Absolute(), history=history, bundle=bundle).eval()


# -- the data set --------------------------------------------------------------------------------------------------


def test_a_data_set_of_latents_is_like_any_other(splits, autoencoder) -> None:
    made = encode_dataset(splits["train"], autoencoder)
    assert domain_of(made) == LINE.with_shape((8,)) and fields_of(made).channels == ("latent_0", "latent_1", "latent_2")
    assert trajectories_of(made) == trajectories_of(splits["train"]) and made.attrs["split"] == "train"
    assert made.attrs["dt"] == pytest.approx(DT) and parameters_of(made)["nu"].tolist() == [0.1] * 6
    assert made.attrs["lyapunov_time"] == 3.0 and "scored_time" not in made.attrs and "checksum" not in made.attrs
    u = from_xarray(splits["train"], FIELDS)
    with torch.no_grad():
        torch.testing.assert_close(from_xarray(made), encode(autoencoder, u, LINE), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(encode(autoencoder, u[:, 3:4], LINE)[:, 0], from_xarray(made)[:, 3], rtol=1e-5, atol=1e-6)


def test_it_is_written_and_opened_again(splits, autoencoder, tmp_path) -> None:
    folder = write_dataset(splits, autoencoder, tmp_path / "latents")
    for split, dataset in splits.items():
        stored, made = open_dataset(folder, split, verify=True), encode_dataset(dataset, autoencoder)
        assert torch.equal(from_xarray(stored), from_xarray(made))
        assert domain_of(stored) == domain_of(made) and stored.attrs["dt"] == pytest.approx(DT)
        assert parameters_of(stored)["nu"].tolist() == parameters_of(made)["nu"].tolist()
    with pytest.raises(FileExistsError, match="remove it"):
        write_dataset(splits, autoencoder, folder)


def test_training_works_on_it_unchanged(splits, autoencoder) -> None:
    latents = {k: encode_dataset(v, autoencoder) for k, v in splits.items()}
    quiet = Settings(progress=False, tensorboard=False, validate_every=0, log_every=1)
    run = train(Training(DataModule(latents, batch_size=8), partial(ConvNet, dim=1, width=8, layers=1)), steps=25, settings=quiet)
    losses = [row["loss"] for row in run.log.rows["train"]]
    assert sum(losses[-5:]) < sum(losses[:5])
    step = Latent(autoencoder, run.surrogate)
    truth = splits["valid"]
    made = simulate(step, truth.isel(time=[0]), 5)
    assert fields_of(made) == FIELDS and domain_of(made) == LINE and not bool(made["u"].isnull().any())


# -- the step ------------------------------------------------------------------------------------------------------


def test_it_is_decode_after_the_surrogate_after_encode(autoencoder) -> None:
    """Five steps: latents go round, and every frame is decoded from them."""
    step, u = Latent(autoencoder, inner(autoencoder, "plain")), past(3)
    with torch.no_grad():
        made = torch.stack(list(rollout(step, u, 5, conditions(3).after)), 1)
        z = encode(autoencoder, u, LINE)
        latents = torch.stack(list(rollout(step.surrogate, z, 5, conditions(3, LINE.with_shape((8,))).after)), 1)
        torch.testing.assert_close(made, decode(autoencoder, latents, LINE))


def test_with_persistence_inside_it_is_the_round_trip(autoencoder) -> None:
    step, u = Latent(autoencoder, inner(autoencoder, "same")), past(2)
    with torch.no_grad():
        frames = list(rollout(step, u, 3, conditions(2).after))
        once = decode(autoencoder, encode(autoencoder, u, LINE), LINE)[:, 0]
    for frame in frames:  # the decoder's errors do not come back: the third is the first
        torch.testing.assert_close(frame, once, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "flow"])
@pytest.mark.parametrize(("history", "bundle"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("law", [False, True])
def test_the_laws_of_a_step(kind, history, bundle, law, autoencoder) -> None:
    constraint = ConservedIntegral(FIELDS, "c") if law else None
    step = Latent(autoencoder, inner(autoencoder, kind, history, bundle), constraint)
    assert isinstance(step, Step)
    with torch.no_grad():
        step_laws(step, past(3, history), conditions(3), lambda rows: SeededNoise(7, rows.tolist(), [0] * len(rows)), rounding=5e-5)
    if law:
        u = past(2, history)
        with torch.no_grad():
            frames = torch.stack(list(rollout(step, u, 6, conditions(2).after, SeededNoise(7, [0, 1], [0, 0]))), 1)
        budget = LINE.integral(u[:, -1])[:, 1]
        torch.testing.assert_close(
            LINE.integral(frames.flatten(0, 1))[:, 1].unflatten(0, (2, 6)), budget[:, None].expand(2, 6), rtol=1e-5, atol=1e-5
        )


def test_an_ensemble_of_latent_surrogates(autoencoder) -> None:
    pair = [inner(autoencoder, "plain"), inner(autoencoder, "same")]
    step, u = Latent(autoencoder, DeepEnsemble(pair)), past(1).expand(2, -1, -1, -1).contiguous()
    assert step.generative and step.evaluations == 1
    with torch.no_grad():
        made = torch.stack(list(rollout(step, u, 2, conditions(2).after, SeededNoise(0, [0, 0], [0, 1]))), 1)
        for k, one in enumerate(pair):
            alone = torch.stack(list(rollout(Latent(autoencoder, one), u[:1], 2, conditions(1).after)), 1)
            torch.testing.assert_close(made[k], alone[0], rtol=1e-5, atol=1e-5)


def test_it_counts_the_evaluations_in_latent_space(autoencoder) -> None:
    plain, flow = (Latent(autoencoder, inner(autoencoder, kind)) for kind in ("plain", "flow"))
    assert (plain.generative, plain.evaluations) == (False, 1) and (flow.generative, flow.evaluations) == (True, 3)


def test_it_runs_at_another_resolution(autoencoder) -> None:
    step = Latent(autoencoder, inner(autoencoder, "plain"))
    finer = LINE.with_shape((64,))
    with torch.no_grad():
        made = torch.stack(list(rollout(step, past(2, n=64), 2, conditions(2, finer).after)), 1)
    assert made.shape == (2, 2, 2, 64)


def test_it_is_saved_whole_and_loaded(autoencoder, tmp_path) -> None:
    step = Latent(autoencoder, inner(autoencoder, "flow"), ConservedIntegral(FIELDS, "c"))
    again = load(save(step, tmp_path / "latent"))
    assert isinstance(again, Latent) and "kg m-3" in (tmp_path / "latent" / CARD).read_text()
    noise = SeededNoise(0, [0, 1], [0, 0])
    with torch.no_grad():
        a, b = (torch.stack(list(rollout(s, past(2), 3, conditions(2).after, noise)), 1) for s in (step, again))
    assert torch.equal(a, b)


def test_what_does_not_belong_together_is_told(autoencoder) -> None:
    with pytest.raises(ValueError, match="expected a surrogate whose operator is an Autoencoder, got ConvNet"):
        Latent(inner(autoencoder, "plain"), inner(autoencoder, "plain"))
    with pytest.raises(ValueError, match="train it on what `encode_dataset` makes"):
        Latent(autoencoder, autoencoder)


def test_the_law_on_decoded_fields_can_be_switched_off_with_weights_shared(autoencoder) -> None:
    step = Latent(autoencoder, inner(autoencoder, "plain"), ConservedIntegral(FIELDS, "c"))
    bare = step.with_constraint(None)
    assert step.constraint is not None and bare.constraint is None
    assert bare.autoencoder is step.autoencoder and bare.surrogate is step.surrogate
