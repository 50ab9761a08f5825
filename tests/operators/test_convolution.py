"""Convolutions and padding: the formula written as loops, transposes, gradients of every kind, any length of axis, clear errors."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from surrogates.domains import Box
from surrogates.operators.convolution import Convolution, Norm, Up, check_convolutional, check_halvings
from surrogates.operators.padding import extend, image, sides


def continued(u: Tensor, index: tuple[int, ...], rules: tuple[str, ...]) -> Tensor:
    """The channels of u (B, C, *X) at any integer index."""
    inside = []
    for i, n, rule in zip(index, u.shape[2:], rules, strict=True):
        if rule == "zeros" and not 0 <= i < n:
            return torch.zeros_like(u[(..., *(0,) * len(index))])
        period = 2 * n if rule == "reflect" else n
        i %= period
        inside.append(i if i < n else 2 * n - 1 - i)
    return u[(..., *inside)]


def looped(layer: Convolution, u: Tensor, rules: tuple[str, ...], dilation: int, stride: int) -> Tensor:
    """b + sum_t W_t u(s i + d (t - r))."""
    dim, kernel = u.ndim - 2, layer.weight.shape[-1]
    out = tuple(-(-n // stride) for n in u.shape[2:])
    y = layer.bias.expand(len(u), *out, -1).movedim(-1, 1).clone()
    for i in itertools.product(*map(range, out)):
        for t in itertools.product(range(kernel), repeat=dim):
            at = tuple(stride * a + dilation * (b - (kernel - 1) // 2) for a, b in zip(i, t, strict=True))
            y[(..., *i)] += continued(u, at, rules) @ layer.weight[(..., *t)].T
    return y


def as_image(rules: tuple[str, ...]) -> tuple[str, ...]:
    return ("zeros", *rules) if len(rules) == 1 else rules


@pytest.mark.parametrize(
    ("shape", "rules", "kernel", "dilation", "stride"),
    [
        ((7,), ("wrap",), 3, 1, 1),
        ((5,), ("reflect",), 5, 2, 1),
        ((2,), ("wrap",), 3, 8, 1),
        ((2,), ("reflect",), 3, 8, 1),
        ((1,), ("wrap",), 3, 4, 1),
        ((5,), ("zeros",), 3, 8, 1),
        ((4, 3), ("wrap", "zeros"), 3, 1, 1),
        ((3, 5), ("reflect", "wrap"), 3, 2, 1),
        ((3, 4), ("zeros", "zeros"), 1, 1, 1),
        ((4, 6), ("wrap", "wrap"), 4, 1, 2),
        ((5, 4), ("zeros", "reflect"), 4, 1, 2),
        ((4, 7), ("zeros", "reflect"), 3, 1, 2),
        ((1, 6), ("reflect", "wrap"), 4, 1, 2),
        ((3, 2, 4), ("wrap", "reflect", "zeros"), 3, 1, 1),
        ((2, 3, 2), ("wrap", "reflect", "zeros"), 4, 1, 2),
    ],
)
def test_it_is_the_sum_over_the_stencil(shape, rules, kernel, dilation, stride) -> None:
    torch.manual_seed(0)
    layer = Convolution(2, 3, len(shape), kernel, dilation=dilation, stride=stride).double()
    u = torch.randn(2, 2, *shape, dtype=torch.float64, requires_grad=True)
    expected = looped(layer, u, rules, dilation, stride)
    y = layer(image(u), as_image(rules)).reshape(expected.shape)
    torch.testing.assert_close(y, expected)
    g = torch.randn_like(expected)
    for ours, theirs in zip(torch.autograd.grad(y, (u, layer.weight), g), torch.autograd.grad(expected, (u, layer.weight), g), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize(
    ("fine", "rules"), [((6,), ("wrap",)), ((5,), ("zeros",)), ((4, 7), ("wrap", "reflect")), ((1, 2, 3), ("zeros", "wrap", "reflect"))]
)
def test_up_spreads_every_coarse_point_over_its_stencil(fine, rules, kernel) -> None:
    """y_j = b + sum over i, t with j = 2 i - 1 + t of W_t u_i, the coarse points continued by one."""
    torch.manual_seed(0)
    fine = tuple(n if rule != "wrap" else n + n % 2 for n, rule in zip(fine, rules, strict=True))
    coarse, dim = tuple(-(-n // 2) for n in fine), len(fine)
    layer, u = Up(2, 3, dim, kernel).double(), torch.randn(2, 2, *coarse, dtype=torch.float64)
    expected = layer.bias.expand(2, *fine, -1).movedim(-1, 1).clone()
    for i in itertools.product(*(range(-1, m + 1) for m in coarse)):
        for t in itertools.product(range(kernel), repeat=dim):
            j = tuple(2 * a - 1 + b for a, b in zip(i, t, strict=True))
            if all(0 <= a < n for a, n in zip(j, fine, strict=True)):
                expected[(..., *j)] += continued(u, i, rules) @ layer.weight[(..., *t)]
    shape = (1, *fine) if dim == 1 else fine
    torch.testing.assert_close(layer(image(u), as_image(rules), shape).reshape(expected.shape), expected)


RULES = [("wrap", "wrap"), ("reflect", "wrap"), ("zeros", "reflect")]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("pads", [((1, 1), (2, 0)), ((0, 0), (1, 2)), ((7, 4), (3, 9))])
def test_padding_has_its_transpose_and_all_derivatives(rules, pads) -> None:
    u = image(torch.randn(1, 2, 3, 4, dtype=torch.float64)).requires_grad_()
    y = extend(u, pads, rules)
    for i in itertools.product(range(y.shape[2]), range(y.shape[3])):
        at = tuple(a - before for a, (before, _) in zip(i, pads, strict=True))
        assert torch.equal(y[(..., *i)], continued(u, at, rules))
    assert torch.equal(extend(u.detach(), pads, rules), y)
    assert torch.autograd.gradcheck(lambda u: extend(u, pads, rules), u, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda u: extend(u, pads, rules) ** 3, u, fast_mode=True)
    rows = torch.func.vmap(torch.func.grad(lambda v: extend(v[None], pads, rules).pow(2).sum()))(u.detach())
    (whole,) = torch.autograd.grad(y.pow(2).sum(), u)
    torch.testing.assert_close(rows, whole)


def test_images_stay_channels_last_so_that_nothing_is_copied() -> None:
    for shape, form in (((12,), torch.channels_last), ((6, 8), torch.channels_last), ((4, 4, 6), torch.channels_last_3d)):
        dim, rules = len(shape), as_image(("wrap",) * len(shape))
        u = image(torch.randn(2, 8, *shape))
        halved = Convolution(8, 8, dim, 4, stride=2)(u, rules)
        for y in (u, Convolution(8, 8, dim)(u, rules), halved, Up(8, 8, dim)(halved, rules, u.shape[2:]), Norm(8)(u)):
            assert y.is_contiguous(memory_format=form)


def test_a_norm_is_over_all_channels_and_points_also_in_forward_mode() -> None:
    torch.manual_seed(0)
    norm, u = Norm(3).double(), image(torch.randn(2, 3, 5, 4, dtype=torch.float64))
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    gain, shift, t = torch.randn(2, 3).double(), torch.randn(2, 3).double(), torch.randn_like(u)
    flat = (u - u.mean((1, 2, 3), keepdim=True)) / (u.var((1, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    expected = (flat * norm.weight.view(3, 1, 1) + norm.bias.view(3, 1, 1)) * gain[..., None, None] + shift[..., None, None]
    torch.testing.assert_close(norm(u, gain, shift), expected)
    value, derivative = torch.func.jvp(lambda u: norm(u, gain, shift), (u,), (t,))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(derivative, (norm(u + 1e-6 * t, gain, shift) - norm(u - 1e-6 * t, gain, shift)) / 2e-6, rtol=1e-6, atol=1e-7)


def test_the_box_says_how_an_axis_goes_on() -> None:
    box = Box((4, 3), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))
    assert sides(box, "reflect") == ("wrap", "reflect") and sides(box, "zeros") == ("wrap", "zeros")
    assert sides(Box.periodic((4,), 1.0), "zeros") == ("zeros", "wrap")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, "zeros", "relu"), "dim must be 1, 2 or 3, got 4"),
        ((2, "mirror", "relu"), "walls='mirror' must be 'zeros' or 'reflect'"),
        ((2, "reflected", "relu"), "did you mean 'reflect'"),
        ((2, "zeros", "gleu"), "did you mean 'gelu'"),
        ((2, "zeros", "gelu", 3, 4), "kernel must be odd, .* got 3, 4"),
    ],
)
def test_what_no_convolution_can_do_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_convolutional(*arguments)


def test_sizes_that_cannot_be_halved_are_named() -> None:
    box = Box((50, 13), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))
    with pytest.raises(ValueError, match=r"axis x has 50 points and this UNet halves it 3 times.*multiples of 8.*to 48 or 56 points"):
        check_halvings("UNet", box, 3)
    with pytest.raises(ValueError, match="to 8 points"):
        check_halvings("UNet", Box.periodic((5,), 1.0), 3)
    check_halvings("UNet", box, 1)
