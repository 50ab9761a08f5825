"""FNO: equality with neuraloperator, translations, resolutions, gradients, conditioning, storage and clear errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from surrogates.contracts import Operator
from surrogates.domains import Box
from surrogates.operators import FNO


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
    [((24,), (10,), (6,)), ((16, 17), (8, 8), (8, 5)), ((8, 8), (8, 8), (8, 5)), ((8, 6, 9), (4, 5, 6), (4, 5, 4))],
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


@pytest.mark.parametrize("positions", [0, 2])
def test_a_band_limited_field_has_the_same_answer_at_every_resolution(positions: int) -> None:
    """Up to the aliasing of gelu, which falls with resolution."""
    f = small(positions=positions).double()
    fine = f(wave(box(96, 96)), box(96, 96))
    errors = [(f(wave(box(n, n)), box(n, n)) - fine[..., :: 96 // n, :: 96 // n]).abs().max().item() for n in (8, 16, 32)]
    assert errors[2] < 1e-6 * fine.abs().max().item() + 1e-7 and errors[0] > errors[1] > errors[2]
