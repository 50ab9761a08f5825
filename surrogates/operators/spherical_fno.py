"""Spherical Fourier neural operator: an FNO whose convolutions are those of the sphere, conditioned by an embedding.

    h_0 = Q_2 gelu(Q_1 [u, p]),    y = P_2 gelu(P_1 h_L),
    v = gelu(K h + S h + b),       h' = gelu(M v + g h)        in each of L blocks, the last without these two gelu

K multiplies the spherical harmonic coefficients of degree l by one real matrix W_l for all orders,

    (K h)_lm = W_l h_lm,

which is the most that commutes with every rotation of the sphere: convolution with zonal kernels (Driscoll and Healy 1994). Complex W_l,
as in published codes, shift every order against the meridians and commute with rotations about the polar axis alone. S is a matrix, M a
two-layer network at each point, g a gate per channel. An embedding e acts as in `FNO`: v = gelu((1 + gamma) K h + S h + b + beta), with
the factor on the coefficients and beta on the mean's, and h' = gelu(M v + (1 + gamma') g h).

Positions p: with positions=0 the network does not know where the poles are; it commutes with rotations, up to the aliasing of gelu and
exactly by whole grid points about the polar axis. Real harmonics of a low degree tell it: positions=n those of degree 1..n (1, the
default: the unit vector x, y, z), positions=(n, m) only their orders up to m. A planet that turns has a law that depends on latitude
alone: (n, 0).

The same function on every grid of a sphere that holds its degrees, either way up and from any first meridian, up to that aliasing.

Source: Bonev et al., Spherical Fourier Neural Operators: Learning Stable Dynamics on the Sphere, 2023, https://arxiv.org/abs/2306.03838.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import pi, sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from surrogates.contracts import Domain
from surrogates.domains import Sphere
from surrogates.domains.harmonics import Transform, analyse, synthesise, transform
from surrogates.domains.legendre import check_held, legendre
from surrogates.operators.checks import check_counts, check_fields, per_axis
from surrogates.operators.film import FiLM
from surrogates.operators.pointwise import Pointwise
from surrogates.record import recorded

Modulation = tuple[Tensor | None, Tensor | None, Tensor | None]


def check_sphere(
    name: str, x: Tensor, domain: Domain, embedding: Tensor | None, *, channels: int, size: int, degrees: int, orders: int
) -> Sphere:
    """The domain as a Sphere that holds these degrees and orders.

    Raises TypeError for another geometry, ValueError for what does not fit.
    """
    if not isinstance(domain, Sphere):
        raise TypeError(f"{name} works on a Sphere, got a {type(domain).__name__}; choose an operator for that geometry")
    check_fields(name, x, domain, embedding, channels=channels, size=size)
    check_held(f"this {name}", domain, degrees, orders)
    return domain


@recorded
class SphericalFNO(nn.Module):
    """A network from fields (B, in_channels, lat, lon) to (B, out_channels, lat, lon) on a `Sphere` that holds its degrees and orders.

    degrees: how many, from l = 0 on (32 on a grid of 32 x 64); orders: how many, from m = 0 on, as many unless given (a triangle).
    positions: the degree of the harmonics of position that the network sees, or a degree and an order; 0 for none.
    expansion: hidden channels of the pointwise networks inside the blocks, as a multiple of width; lift: the same at both ends.
    Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        width: int = 32,
        degrees: int = 32,
        orders: int | None = None,
        layers: int = 4,
        positions: int | Sequence[int] = 1,
        expansion: float = 0.5,
        lift: float = 2.0,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.embedding = in_channels, out_channels, embedding
        self.degrees, self.orders = degrees, degrees if orders is None else orders
        inner, outer = round(expansion * width), round(lift * width)
        check_counts(degrees=self.degrees, orders=self.orders, width=width, layers=layers, expansion=inner, lift=outer)
        if self.orders > degrees:
            raise ValueError(f"orders must be at most degrees = {degrees}, as |m| <= l, got {orders}")
        degree, order = per_axis("positions", positions, 2)
        self.positions = (degree, min(degree, order))
        seen = in_channels + sum(2 * min(n, self.positions[1]) + 1 for n in range(1, degree + 1))
        self.lift_in, self.lift_out = Pointwise(seen, outer), Pointwise(outer, width)
        self.blocks = nn.ModuleList(SphericalBlock(width, degrees, inner, last=i == layers - 1) for i in range(layers))
        self.film = FiLM(embedding, width, layers) if embedding else None
        self.project_in, self.project_out = Pointwise(width, outer), nn.Linear(outer, out_channels)

    def forward(
        self, x: Float[Tensor, "B Cin lat lon"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout lat lon"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Sphere, ValueError for the wrong channels or embedding and for a grid too coarse.
        """
        sizes = {"channels": self.in_channels, "size": self.embedding, "degrees": self.degrees, "orders": self.orders}
        sphere = check_sphere("SphericalFNO", x, domain, embedding, **sizes)
        t = turned_transform(sphere, self.degrees, self.orders, torch.promote_types(x.dtype, torch.float32), x.device)
        h = x.permute(2, 3, 0, 1)
        if self.positions[0]:
            p = harmonics_of(sphere, *self.positions, x.dtype, x.device)
            h = torch.cat([h, p[:, :, None].expand(-1, -1, len(x), -1)], -1)
        h = self.lift_out(gelu(self.lift_in(h)))
        film = self.film(embedding) if self.film is not None else ((None, None, None),) * len(self.blocks)
        for block, modulation in zip(self.blocks, film, strict=True):
            h = block(h, t, modulation)
        h = gelu(self.project_in(h)).flatten(0, 1).permute(1, 2, 0)
        y = torch.matmul(self.project_out.weight, h) + self.project_out.bias[:, None]  # channels first without a copy
        return y.view(len(x), -1, *sphere.shape)


class SphericalBlock(nn.Module):
    """h -> gelu(M gelu(K h + S h + b) + g h), grid first and channels last; `last` leaves the two gelu out."""

    def __init__(self, width: int, degrees: int, hidden: int, *, last: bool) -> None:
        super().__init__()
        self.last = last
        self.filter = DegreeFilter(width, degrees)
        self.skip = Pointwise(width, width)
        self.inner, self.outer = Pointwise(width, hidden), Pointwise(hidden, width)
        self.gate = nn.Parameter(torch.ones(width))

    def forward(self, h: Float[Tensor, "lat lon B C"], t: Transform, modulation: Modulation) -> Float[Tensor, "lat lon B C"]:
        gain, shift, gate = modulation
        v = self.skip(h) + self.filter(h, t, gain, shift)
        g = self.gate if gate is None else self.gate * gate
        if self.last:
            return torch.addcmul(self.outer(gelu(self.inner(v))), h, g)
        return gelu(torch.addcmul(self.outer(gelu(self.inner(gelu(v)))), h, g))


class DegreeFilter(nn.Module):
    """K: multiply all coefficients of a degree by one matrix. It has no bias; under autocast and for half precision it runs in float32."""

    def __init__(self, channels: int, degrees: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(degrees, channels, channels) * (1 / channels) ** 0.5)

    def forward(
        self,
        h: Float[Tensor, "lat lon B C"],
        t: Transform,
        gain: Float[Tensor, "B C"] | None = None,
        shift: Float[Tensor, "B C"] | None = None,
    ) -> Float[Tensor, "lat lon B C"]:
        """gain * K h + shift, where gain and shift are applied to the coefficients and so cost nothing a grid point."""
        dtype, asked = torch.promote_types(h.dtype, torch.float32), h.dtype
        with torch.autocast(h.device.type, enabled=False):
            bands = analyse(h.to(dtype), t)
            weights = torch.split(self.weight.to(dtype), [len(z) for z in bands])
            out = [torch.bmm(z.flatten(1, 3), w).view(z.shape) for z, w in zip(bands, weights, strict=True)]
            if gain is not None:
                out = [z * gain.to(dtype) for z in out]
            if shift is not None:
                out[0][0, 0, 0] += shift.to(dtype) * sqrt(4 * pi)  # Y_00 is 1/sqrt(4 pi)
            return synthesise(tuple(out), t).to(asked)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def turned_transform(sphere: Sphere, degrees: int, orders: int, dtype: torch.dtype, device: torch.device) -> Transform:
    """With longitudes from the first meridian, which a filter by degree does not see."""
    t: Transform = transform(replace(sphere, west=0.0), degrees, orders, dtype, device)
    return t


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def harmonics_of(sphere: Sphere, degree: int, order: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "lat lon P"]:
    """Real harmonics Y_lm, cosines and sines of m lambda, 1 <= l <= degree and m <= order, of unit mean square; cached, so not to be
    written to."""
    return _harmonics(replace(sphere, radius=1.0, units="1"), degree, order, dtype, device)


@lru_cache(maxsize=64)
def _harmonics(sphere: Sphere, degree: int, order: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        phi, east = (torch.deg2rad(sphere.coordinate(axis)) for axis in (0, 1))
        p, out = legendre(phi, degree + 1, 0, order + 1) * sqrt(4 * pi), []
        for n in range(1, degree + 1):
            out.append(p[0, n][:, None].expand(sphere.shape))
            for m in range(1, min(n, order) + 1):
                out += [sqrt(2) * p[m, n][:, None] * wave for wave in ((m * east).cos(), (m * east).sin())]
        return torch.stack(out, -1).to(device, dtype)
