"""Convolutions on a box of 1-3 dimensions, and what convolutional networks share.

    y_i = b + sum_t W_t u(s i + d (t - r)),    t = 0..k-1 on each axis,    r = (k - 1) // 2,

with u continued over the ends of each axis as `padding` says. With stride s = 1 and odd k the grid stays as it is. With s = 2 it is
halved, N to ceil(N/2), and k = 4 then looks equally far to both sides of the pair of cells that become one, so that mirror images stay
mirror images. `Up` doubles it again, to the size it had before.

A periodic axis of odd length cannot be halved: its coarse points would not lie evenly around it, and the network would no longer
commute with any translation. `check_halvings` refuses that and names the sizes that work. Between walls any size works.

Fields here are "images": channels last in memory, a line as an image of one row, because oneDNN is fastest on these (20 rows of 160
points and 26 channels, a step with gradients: .55 ms, as a line with channels first .70).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv3d, conv_transpose2d, conv_transpose3d, gelu, group_norm, relu, silu

from surrogates.domains import Box
from surrogates.domains.box import PERIODIC
from surrogates.errors import nearest
from surrogates.operators.padding import WALLS, extend, forward_mode, image
from surrogates.operators.pointwise import affine
from surrogates.operators.positions import positions as harmonics_of

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": gelu, "relu": relu, "silu": silu}


class Convolution(nn.Module):
    """`in_channels` to `out_channels` with `kernel` points an axis; same size for stride 1, ceil(N/stride) otherwise."""

    def __init__(self, in_channels: int, out_channels: int, dim: int, kernel: int = 3, *, dilation: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.dilation, self.stride = (_square(v, dim) for v in (kernel, dilation, stride))
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *(kernel,) * dim))
        self.bias = nn.Parameter(torch.empty(out_channels))
        _spread(self.weight, self.bias, in_channels)

    def forward(self, u: Float[Tensor, "B Cin *S"], rules: tuple[str, ...]) -> Float[Tensor, "B Cout *Z"]:
        """`rules` from `padding.sides`."""
        if max(self.kernel) == max(self.stride) == 1:
            return affine(u.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)
        pads, inside = [], []  # ours, and zeros that the convolution adds by itself
        for n, k, d, s, rule in zip(u.shape[2:], self.kernel, self.dilation, self.stride, rules, strict=True):
            reach = d * (k - 1)
            before, there = reach // 2, (-(-n // s) - 1) * s + 1 + reach  # the points that the windows cover
            free = rule == "zeros" and (n + 2 * before - reach - 1) // s == (n - 1) // s
            inside.append(before if free else 0)
            pads.append((0, 0) if free else (before, max(there - n - before, 0)))
        u = extend(u, tuple(pads), rules)
        weight = self.weight if self.weight.ndim == u.ndim else self.weight.unsqueeze(2)
        convolve = conv2d if u.ndim == 4 else conv3d
        return convolve(u, weight, self.bias, self.stride, tuple(inside), self.dilation)


class Up(nn.Module):
    """The transpose of a convolution with stride 2 and `kernel` 3 or 4 points an axis: from ceil(N/2) points to N."""

    def __init__(self, in_channels: int, out_channels: int, dim: int, kernel: int = 4) -> None:
        super().__init__()
        self.dim, self.kernel = dim, kernel
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels, *(kernel,) * dim))
        self.bias = nn.Parameter(torch.empty(out_channels))
        _spread(self.weight, self.bias, in_channels)

    def forward(
        self, u: Float[Tensor, "B Cin *S"], rules: tuple[str, ...], shape: tuple[int, ...] | torch.Size
    ) -> Float[Tensor, "B Cout *Z"]:
        """Onto `shape`, the image's size before it was halved."""
        edges = tuple((0, 0) if rule == "zeros" else (1, 1) for rule in rules)
        crop = [1 + 2 * before for before, _ in edges]
        stride, more = _square(2, self.dim), _square(4 - self.kernel, self.dim, 0)
        weight: Tensor = self.weight
        if self.dim == 1:
            weight, crop[0] = weight.unsqueeze(2), 0
        transpose = conv_transpose2d if u.ndim == 4 else conv_transpose3d
        y: Tensor = transpose(extend(u, edges, rules), weight, self.bias, stride, tuple(crop), more)
        for d, n in enumerate(shape, start=2):
            y = y.narrow(d, 0, n) if y.shape[d] != n else y
        return y


class Norm(nn.Module):
    """Over all channels and points of a row (a group norm with one group), then an affine map a channel, then FiLM."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(
        self, u: Float[Tensor, "B C *S"], gain: Float[Tensor, "B C"] | None = None, shift: Float[Tensor, "B C"] | None = None
    ) -> Float[Tensor, "B C *S"]:
        if not forward_mode():
            return modulate(group_norm(u, 1, self.weight, self.bias), gain, shift)
        variance, mean = torch.var_mean(u, tuple(range(1, u.ndim)), correction=0, keepdim=True)  # its own derivative wants channels first
        y = modulate((u - mean) * (variance + 1e-5).rsqrt(), self.weight[None], self.bias[None])
        return modulate(y, gain, shift)


def modulate(
    u: Float[Tensor, "B C *S"], gain: Float[Tensor, "#B C"] | None, shift: Float[Tensor, "#B C"] | None = None
) -> Float[Tensor, "B C *S"]:
    """gain * u + shift, a number per row and channel; None for none."""
    if gain is None:
        return u
    shape = (*gain.shape, *(1,) * (u.ndim - 2))
    return u * gain.view(shape) if shift is None else torch.addcmul(shift.view(shape), u, gain.view(shape))


def images(x: Float[Tensor, "B C *X"], box: Box, harmonics: tuple[int, ...]) -> Float[Tensor, "B Z *S"]:
    """x and the positions that the network sees, as images."""
    if any(harmonics):
        p = harmonics_of(box, harmonics, x.dtype, x.device).movedim(-1, 0)
        x = torch.cat([x, p.expand(len(x), *p.shape)], 1)
    return image(x)


def fields(h: Float[Tensor, "B C *S"], box: Box) -> Float[Tensor, "B C *X"]:
    """Images as fields of the box again, channels first in memory."""
    return h.reshape(*h.shape[:2], *box.shape).contiguous()


def check_convolutional(dim: int, walls: str, activation: str, *kernels: int) -> None:
    """Raise ValueError unless there are 1-3 dimensions, `walls` and `activation` are known, and kernels have a middle."""
    if not 1 <= dim <= 3:
        raise ValueError(f"dim must be 1, 2 or 3, got {dim}")
    if walls not in WALLS:
        raise ValueError(f"walls={walls!r} must be 'zeros' or 'reflect': how a field goes on behind a wall{nearest(walls, WALLS)}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation={activation!r} must be one of {', '.join(ACTIVATIONS)}{nearest(activation, ACTIVATIONS)}")
    if any(k < 1 or k % 2 == 0 for k in kernels):
        raise ValueError(f"kernel must be odd, so that the grid stays as it is, got {', '.join(map(str, kernels))}")


def check_halvings(name: str, box: Box, halvings: int) -> None:
    """Raise ValueError unless every periodic axis can be halved so often."""
    stride = 2**halvings
    for axis, n, kind in zip(box.axes, box.shape, box.boundary, strict=True):
        if kind == PERIODIC and n % stride:
            sizes = " or ".join(str(m * stride) for m in (n // stride, n // stride + 1) if m)
            raise ValueError(
                f"axis {axis} has {n} points and this {name} halves it {halvings} times, which a periodic axis allows only in multiples "
                f"of {stride}; resample the fields to {sizes} points, or build it with fewer levels"
            )


def _square(value: int, dim: int, single: int = 1) -> tuple[int, ...]:
    """One number for each axis of an image, `single` for the row of a line."""
    return (single, value) if dim == 1 else (value,) * dim


def _spread(weight: nn.Parameter, bias: nn.Parameter, channels: int) -> None:
    """Uniform with the variance 1/3 fan-in, as everywhere in torch."""
    bound = (channels * prod(weight.shape[2:])) ** -0.5
    nn.init.uniform_(weight, -bound, bound)
    nn.init.uniform_(bias, -bound, bound)
