"""FNO: equality with neuraloperator, translations, resolutions, gradients, conditioning, storage and clear errors."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from surrogates.contracts import Operator
from surrogates.domains import Box
from surrogates.operators import FNO, fourier, spectral_conv
from surrogates.operators.positions import positions
from surrogates.record import construct, describe


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> FNO:
    torch.manual_seed(0)
    return FNO(cin, cout, embedding, **{"width": 6, "modes": (5, 3), "layers": 2} | options)


def box(*shape: int) -> Box:
    return Box.periodic(shape, 2 * math.pi)


@torch.no_grad()
def copy_from_neuralop(theirs: nn.Module, ours: FNO) -> None:
    """Their parameters, in our layout: modes first, weights real, their convolution's bias in our skip."""

    def copy(to: nn.Linear, source: nn.Module) -> None:
        to.weight.copy_(source.weight.reshape(to.weight.shape))
        to.bias.copy_(source.bias if source.bias is not None else 0)

    ends = (ours.lift_in, ours.lift_out, ours.project_in, ours.project_out)
    for to, source in zip(ends, (*theirs.lifting.fcs, *theirs.projection.fcs), strict=True):
        copy(to, source)
    fno = theirs.fno_blocks
    for i, block in enumerate(ours.blocks):
        w = fno.convs[i].weight.tensor
        stacked = torch.cat([w.real, w.imag], 1).permute(*range(2, w.ndim), 0, 1)
        block.spectral.weight.copy_(stacked.reshape(block.spectral.weight.shape))
        copy(block.skip, fno.fno_skips[i].conv)
        block.skip.bias.copy_(fno.convs[i].bias.flatten())
        copy(block.inner, fno.channel_mlp[i].fcs[0])
        copy(block.outer, fno.channel_mlp[i].fcs[1])
        block.gate.copy_(fno.channel_mlp_skips[i].weight.flatten())


@pytest.mark.parametrize(
    ("grid", "theirs_modes", "modes"),
    [
        ((24,), (10,), (6,)),
        ((16, 17), (8, 8), (8, 5)),
        ((8, 8), (8, 8), (8, 5)),
        ((32, 64), (8, 8), (8, 5)),
        ((8, 6, 9), (4, 5, 6), (4, 5, 4)),
    ],
)
def test_the_same_function_as_neuraloperator(grid, theirs_modes, modes) -> None:
    """To float32 rounding, on even leading axes: neuraloperator 2.0 shifts odd ones back by one mode too few."""
    models = pytest.importorskip("neuralop.models", reason="the peer that this compares with")
    torch.manual_seed(0)
    theirs = models.FNO(theirs_modes, 3, 2, 8, n_layers=3, positional_embedding=None)
    for skip in theirs.fno_blocks.channel_mlp_skips:
        nn.init.normal_(skip.weight)
    ours = FNO(3, 2, width=8, modes=modes, layers=3, positions=0)
    copy_from_neuralop(theirs, ours)
    x = torch.randn(2, 3, *grid)
    torch.testing.assert_close(ours(x, box(*grid)), theirs(x), atol=1e-6, rtol=1e-5)


def test_it_is_an_operator_and_counts_its_parameters() -> None:
    f = FNO(3, 2, 5, width=8, modes=(6, 4), layers=3)
    assert isinstance(f, Operator)
    c, h, p, k = 8, 16, 3 + 4, 24
    block = 2 * k * c * c + (c * c + c) + (c * c // 2 + c // 2) + (c * c // 2 + c) + c
    ends = (p * h + h) + (h * c + c) + (c * h + h) + (h * 2 + 2)
    film = (5 * 2 * c + 2 * c) + (2 * c + 1) * 3 * 3 * c
    assert sum(q.numel() for q in f.parameters()) == ends + 3 * block + film


def test_without_positions_it_commutes_with_translations() -> None:
    f, b = small(positions=0).double(), box(12, 10)
    x = torch.randn(2, 2, 12, 10, dtype=torch.float64)
    torch.testing.assert_close(f(x.roll((3, -4), (2, 3)), b), f(x, b).roll((3, -4), (2, 3)))
    seen = small().double()
    assert (seen(x.roll((3, -4), (2, 3)), b) - seen(x, b).roll((3, -4), (2, 3))).abs().max() > 1e-3


def wave(b: Box) -> Tensor:
    x, y = b.grid()
    return torch.stack([torch.sin(x) + torch.cos(x - y), torch.cos(y + 1)])[None]


def test_positions_along_one_axis_keep_translations_along_the_other() -> None:
    f, b = small(positions=(0, 2)).double(), box(12, 10)
    x = torch.randn(2, 2, 12, 10, dtype=torch.float64)
    torch.testing.assert_close(f(x.roll(5, 2), b), f(x, b).roll(5, 2), rtol=1e-10, atol=1e-12)
    assert (f(x.roll(5, 3), b) - f(x, b).roll(5, 3)).abs().max() > 1e-3


@pytest.mark.parametrize("positions", [0, 2])
def test_a_band_limited_field_has_the_same_answer_at_every_resolution(positions: int) -> None:
    """Up to the aliasing of gelu, which falls with resolution."""
    f = small(positions=positions).double()
    fine = f(wave(box(96, 96)), box(96, 96))
    errors = [(f(wave(box(n, n)), box(n, n)) - fine[..., :: 96 // n, :: 96 // n]).abs().max().item() for n in (8, 16, 32)]
    assert errors[2] < 1e-6 * fine.abs().max().item() + 1e-7 and errors[0] > errors[1] > errors[2]


def test_both_transforms_give_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    f, x, e = small(embedding=3).double(), torch.randn(2, 2, 12, 10, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    nn.init.normal_(f.film.out.weight)
    answers = []
    for choice in (True, False):
        monkeypatch.setattr(fourier, "by_products", lambda *_, choice=choice: choice)
        answers.append(f(x, box(12, 10), e))
    torch.testing.assert_close(answers[0], answers[1])


@pytest.mark.parametrize("shape", [(10,), (8, 7), (4, 5, 6)])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, ...]) -> None:
    modes = tuple(m // 2 + 1 for m in shape)
    f = small(1, 1, 2, width=2, modes=modes, layers=2).double()
    nn.init.normal_(f.film.out.weight)
    x = torch.randn(2, 1, *shape, dtype=torch.float64, requires_grad=True)
    e = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, e, w: functional(f, x, e, w), (x, e, f.blocks[0].spectral.weight), fast_mode=True)


def functional(f: FNO, x: Tensor, e: Tensor, w: Tensor) -> Tensor:
    return torch.func.functional_call(f, {"blocks.0.spectral.weight": w}, (x, box(*x.shape[2:]), e))


def test_forward_mode_agrees_with_finite_differences() -> None:
    """Few-step refiners differentiate along the flow by a Jacobian-vector product."""
    f, b = small().double(), box(12, 10)
    x, t = torch.randn(2, 2, 2, 12, 10, dtype=torch.float64).unbind(0)
    _, derivative = torch.func.jvp(lambda x: f(x, b), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, b) - f(x - 1e-6 * t, b)) / 2e-6, rtol=1e-6, atol=1e-8)
    f = f.float()
    _, single = torch.func.jvp(lambda x: f(x, b), (x.float(),), (t.float(),))  # other kernels, same derivative
    torch.testing.assert_close(single.double(), derivative, rtol=1e-4, atol=1e-5)


def test_rows_do_not_see_each_other() -> None:
    f, b, x, e = small(embedding=3).double(), box(12, 10), torch.randn(3, 2, 12, 10).double(), torch.randn(3, 3).double()
    nn.init.normal_(f.film.out.weight)
    rows = [f(x[i : i + 1], b, e[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(f(x, b, e), torch.cat(rows))


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    f, plain, b = small(embedding=3), small(), box(8, 8)
    plain.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith("film")})
    x, e = torch.randn(2, 2, 8, 8), torch.randn(2, 3)
    torch.testing.assert_close(f(x, b, e), plain(x, b), rtol=1e-5, atol=1e-6)
    f(x, b, e).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in f.film.out.parameters())
    for row in range(3):  # gain, shift and second gain of the first block each matter
        changed = small(embedding=3)
        with torch.no_grad():
            changed.film.out.bias.view(2, 3, 6)[0, row] = 1
        assert (changed(x, b, e) - f(x, b, e)).abs().max() > 1e-3
    torch.testing.assert_close(small()(x, b, torch.zeros(2, 0)), small()(x, b))


def test_positions_are_continuous_over_the_seam_and_tell_walls_apart() -> None:
    b = Box((16, 8), (1.0, -2.0), (3.0, 6.0), ("periodic", "wall"))
    p = positions(b, (2, 2), torch.float64, torch.device("cpu"))
    assert p.shape == (16, 8, 8)
    step = (p - p.roll(1, 0)).abs().amax((1, 2))
    assert step.max() < 2 * math.pi / 8
    first_wall, last_wall = p[0, 0, 4:6], p[0, -1, 4:6]
    torch.testing.assert_close(first_wall[0], last_wall[0])
    torch.testing.assert_close(first_wall[1], -last_wall[1])
    assert len({tuple(v) for v in p[0, :, 4:6].tolist()}) == 8


def test_it_is_described_built_and_stored(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="how weights are stored")
    f, b, x, e = small(embedding=3), box(8, 8), torch.randn(2, 2, 8, 8), torch.randn(2, 3)
    safetensors.save_file(f.state_dict(), tmp_path / "weights.safetensors")
    again = construct(json.loads(json.dumps(describe(f))))
    again.load_state_dict(safetensors.load_file(tmp_path / "weights.safetensors"), strict=True)
    torch.testing.assert_close(again(x, b, e), f(x, b, e), rtol=0, atol=0)


def test_half_precision_keeps_spectra_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    f, b, x = small(width=16), box(12, 10), torch.randn(2, 2, 12, 10)
    seen = []
    analyse = fourier.analyse
    monkeypatch.setattr(spectral_conv, "analyse", lambda u, *a: seen.append(u.dtype) or analyse(u, *a))
    with torch.autocast("cpu", torch.bfloat16):
        y = f(x, b)
    y.float().sum().backward()
    assert set(seen) == {torch.float32} and f.blocks[0].spectral.weight.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), f(x, b), rtol=0.05, atol=0.02)
    torch.testing.assert_close(f.bfloat16()(x.bfloat16(), b).float(), y.float(), rtol=0.1, atol=0.05)


def test_a_configuration_gives_only_hyperparameters() -> None:
    """How a surrogate's class is to be typed: Callable[[int, int, int], Module], called with the first three."""
    jsonargparse = pytest.importorskip("jsonargparse", reason="how configurations are read")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Holder, "model")
    entry = {"class_path": "surrogates.operators.FNO", "init_args": {"width": 4, "modes": [4, 3], "layers": 1}}
    built = parser.instantiate(parser.parse_object({"model": {"operator": entry}})).model.operator
    assert isinstance(built, FNO) and (built.in_channels, built.out_channels, built.embedding) == (3, 2, 5)
    assert built.modes == (4, 3) and len(built.blocks) == 1
    for wrong in ({"widht": 4}, {"in_channels": 4}):
        with pytest.raises(jsonargparse.ArgumentError, match="not accepted"):
            parser.parse_object({"model": {"operator": entry | {"init_args": wrong}}})


class Holder:
    def __init__(self, operator: Callable[[int, int, int], nn.Module] = FNO) -> None:
        self.operator = operator(3, 2, 5)


X = torch.zeros(2, 2, 8, 8)
WALLED = Box((8, 8), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))
STRETCHED = Box((8, 2), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"), (None, (0.0, 0.2, 1.0)))


@pytest.mark.parametrize(
    ("f", "arguments", "message"),
    [
        (small(), (X[:, :1], box(8, 8)), "x has 1 channels but this FNO was built with in_channels=2"),
        (small(), (X[..., 0], box(8)), "for 2 dimensions but the box"),
        (small(), (X, box(8, 9)), "this Box takes"),
        (small(modes=(9, 3)), (X, box(8, 8)), "axis x has 8 points and holds 8 modes"),
        (small(modes=(8, 6)), (X, box(8, 8)), "axis y has 8 points and holds 5 modes"),
        (small(positions=0), (X, WALLED), "cannot see the walls"),
        (small(modes=(5, 1)), (X[..., :2], STRETCHED), "is stretched"),
        (small(embedding=3), (X, box(8, 8)), r"embedding of shape \(2, 3\).* got none"),
        (small(embedding=3), (X, box(8, 8), torch.zeros(2, 4)), r"got one of shape \(2, 4\)"),
        (small(embedding=3), (X, box(8, 8), torch.zeros(1, 3)), r"got one of shape \(1, 3\)"),
        (small(), (X, box(8, 8), torch.zeros(2, 4)), r"embedding of shape \(2, 0\)"),
    ],
)
def test_what_does_not_fit_is_named(f: FNO, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        f(*arguments)
    assert f(X, WALLED).shape == (2, 1, 8, 8) if any(f.positions) and not f.embedding and f.modes == (5, 3) else True


@pytest.mark.parametrize(
    "wrong", [{"modes": ()}, {"modes": (4, 0)}, {"width": 0}, {"layers": 0}, {"positions": -1}, {"positions": (1,)}, {"expansion": 0.01}]
)
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(**wrong)


def test_another_geometry_is_refused() -> None:
    cloud = types.SimpleNamespace(shape=(8,), members=1, mask=None, measure=torch.ones(8), integral=abs, expand=abs)
    with pytest.raises(TypeError, match="regular Box, got a SimpleNamespace"):
        small()(X, cloud)


COMPILED = """
import torch
from surrogates.domains import Box
from surrogates.operators import FNO

torch.manual_seed(0)
f = FNO(2, 1, 3, width=4, modes=(5, 3), layers=1)
compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
for grid, rows in (((8, 8), 2), ((12, 9), 3)):
    for boundary in (("periodic",) * 2, ("periodic", "wall")):
        x, e, box = torch.randn(rows, 2, *grid), torch.randn(rows, 3), Box(grid, (0.0, 0.0), (1.0, 1.0), boundary)
        y = compiled(x, box, e)
        y.sum().backward()
        torch.testing.assert_close(y, f(x, box, e))
"""


@pytest.mark.slow
def test_it_compiles_whole_and_again_for_another_grid() -> None:
    """In a process of its own: the annotations checked in tests are no part of the graph."""
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
