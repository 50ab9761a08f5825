"""Chain of convolutions: the formula in torch's own circular convolutions, how far it sees, and APEBench's count of parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surrogates.domains import Box
from surrogates.operators.convnet import ConvNet


@pytest.mark.parametrize("shape", [(11,), (5, 7), (3, 4, 5)])
def test_it_is_the_formula(shape) -> None:
    torch.manual_seed(0)
    f = ConvNet(2, 3, 2, dim=len(shape), width=4, layers=3, kernel=3).double()
    nn.init.normal_(f.film.out.weight)
    make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(shape) - 1]
    h, e = torch.randn(2, 2, *shape, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    y = f(h, Box.periodic(shape, 1.0), e)
    film = [[row.view(2, 4, *(1,) * len(shape)) for row in block] for block in f.film(e)]
    for i, layer in enumerate((*f.layers, f.out)):
        theirs = make(layer.weight.shape[1], layer.weight.shape[0], 3, padding=1, padding_mode="circular").double()
        theirs.load_state_dict(layer.state_dict())
        h = torch.relu(film[i][0] * theirs(h) + film[i][1]) if i < 3 else theirs(h)
    torch.testing.assert_close(y, h)


def test_it_sees_half_a_kernel_a_layer() -> None:
    f, x = ConvNet(1, 1, dim=1, width=4, layers=2, kernel=5, activation="silu").double(), torch.randn(1, 1, 40, dtype=torch.float64)
    (g,) = torch.autograd.grad(f(x.requires_grad_(), Box.periodic((40,), 1.0))[0, 0, 0], x)
    seen = g[0, 0].nonzero().flatten().tolist()
    assert seen == [*range(7), *range(34, 40)]


def test_it_is_the_convolutional_network_of_apebench() -> None:
    """ "Conv;34;10;relu" in 1-D has 31757 parameters there; and the count in general."""
    assert sum(p.numel() for p in ConvNet(1, 1, dim=1, width=34, layers=10).parameters()) == 31757
    assert sum(p.numel() for p in ConvNet(3, 2, width=5, layers=4).parameters()) == 9 * 5 * (3 + 3 * 5 + 2) + 4 * 5 + 2
