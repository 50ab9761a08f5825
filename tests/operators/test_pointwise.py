"""The pointwise layer is `linear` in value and gradient, whichever kernel runs it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from surrogates.operators import pointwise
from surrogates.operators.pointwise import Pointwise


@pytest.mark.parametrize("shape", [(16, 128), (2, 32, 64), (1, 16, 16, 16), (3, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_linear(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    layer, u = Pointwise(5, 7).to(dtype), torch.randn(*shape, 5, dtype=dtype, requires_grad=True)
    answers: list[tuple[Tensor, ...]] = []
    for y in (layer(u), linear(u, layer.weight, layer.bias)):
        answers.append((y, *torch.autograd.grad(y.square().sum(), (u, layer.weight, layer.bias))))
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert answers[0][0].is_contiguous()


@pytest.mark.skipif(not pointwise.ONEDNN, reason="this torch is built without oneDNN")
def test_large_fields_run_as_images(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.Size] = []
    convolve = pointwise.conv2d
    monkeypatch.setattr(pointwise, "conv2d", lambda u, *rest: calls.append(u.shape) or convolve(u, *rest))
    layer = Pointwise(5, 7)
    for u in (torch.zeros(2, 48, 48, 5), torch.zeros(2, 47, 47, 5), torch.zeros(8, 8, 5), torch.zeros(2, 48, 48, 5, dtype=torch.float64)):
        layer.to(u.dtype)(u)
    assert calls == [(36, 5, 8, 16)]
