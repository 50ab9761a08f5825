"""Colours: linear maps from independent standard normal numbers, one a point, to noise that belongs to its domain.

    Spectral        periodic box    E|e_k|^2 ~ (1 + |l k|^2)^(-n/2): white below |k| = 1/l, then falling like k^-n
    WhiteOnSphere   sphere          independent coefficients of all harmonics of degree l < L, of variance 4 pi / L^2
    UnderMeasure    any domain      e_i = eps_i sqrt(mean(m)/m_i), m_i the measure of point i

White numbers on a grid are white only where all points weigh the same. On a latitude-longitude grid they crowd at the poles, and on a
mesh where it was refined. `WhiteOnSphere` has the same variance everywhere and no preferred direction,

    E e(x) e(y) = sum_(l < L) (2l + 1) P_l(cos angle(x, y)) / L^2,        so that E e(x)^2 = 1;

under `UnderMeasure` the integral over any part A has variance mean(m) m(A): it tells how large A is, not how finely it was meshed.
(Its variance is one on average over the measure. Noise that is white in the continuum has no variance at a point, so the number of
nodes stays in mean(m).) `Spectral` is the law of Matern, in any number of dimensions; its variance is one at every point.

Sources: Price et al., "GenCast", 2023, https://arxiv.org/abs/2312.15796 (noise white on the sphere); Whittle, "On stationary processes
in the plane", Biometrika 41, 1954 (the law of `Spectral`); Lord, Powell and Shardlow, An Introduction to Computational Stochastic PDEs,
2014, section 7.4 (stationary fields by circulant embedding, here without the embedding since the box is periodic).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Box, Sphere
from surrogates.domains.harmonics import Transform, banded, synthesise, transform
from surrogates.domains.legendre import held
from surrogates.record import recorded


@recorded
@dataclass(frozen=True)
class Spectral:
    """Noise with a correlation `length`, in the units of the box, and a spectrum that falls like k^-exponent beyond it.

    exponent 0 is white noise; above the number of axes the field is continuous, and then alike at every resolution.
    Raises ValueError for a length or exponent that is negative, TypeError off a Box, and ValueError on walls, where no stationary
    field has a spectrum.
    """

    length: float
    exponent: float = 4.0

    def __post_init__(self) -> None:
        if self.length < 0 or self.exponent < 0:
            raise ValueError(f"length and exponent must not be negative, got {self.length} and {self.exponent}; 0 is white noise")

    def __call__(self, eps: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "B C *X"]:
        if not isinstance(domain, Box):
            raise TypeError(f"Spectral filters Fourier modes of a Box, got a {type(domain).__name__}; write WhiteOnSphere or UnderMeasure")
        if not domain.all_periodic:
            raise ValueError(
                f"Spectral needs periodic axes, this Box has {domain.boundary}: beside a wall no filter keeps the variance even; "
                "write UnderMeasure() for white noise there"
            )
        domain.check(eps)
        axes = tuple(range(2, eps.ndim))
        filtered: Tensor = torch.fft.irfftn(
            torch.fft.rfftn(eps, dim=axes) * _amplitudes(domain, self.length, self.exponent, eps.dtype, eps.device),
            s=domain.shape,
            dim=axes,
        )
        return filtered


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _amplitudes(box: Box, length: float, exponent: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One a mode of the rfftn layout, with a mean square of one over all modes: then white numbers keep their variance."""
    k2 = torch.zeros((), dtype=torch.float64)
    for k in box.wavenumbers():
        k2 = k2 + k.square()
    power = (1 + length**2 * k2) ** (-exponent / 2)
    n = box.shape[-1]
    twice = torch.full((n // 2 + 1,), 2.0, dtype=torch.float64)  # a mode and its conjugate, which the layout leaves out
    twice[0] = 1
    if n % 2 == 0:
        twice[-1] = 1
    return (power * (math.prod(box.shape) / (power * twice).sum())).sqrt().to(device, dtype)


@recorded
@dataclass(frozen=True)
class WhiteOnSphere:
    """White noise of all degrees that the grid holds with all their orders: no direction is preferred. Raises TypeError off a Sphere."""

    def __call__(self, eps: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "B C *X"]:
        if not isinstance(domain, Sphere):
            raise TypeError(f"WhiteOnSphere is for a Sphere, got a {type(domain).__name__}; write White, Spectral or UnderMeasure")
        domain.check(eps)
        t, size = _complete(domain, eps.dtype, eps.device)
        numbers = eps.flatten(2)[..., : size * size].reshape(*eps.shape[:2], size, size).movedim((2, 3), (0, 1))
        spectrum = banded(_coefficients(numbers), t)
        return synthesise(spectrum, t).movedim((0, 1), (2, 3)).contiguous()


def _complete(sphere: Sphere, dtype: torch.dtype, device: torch.device) -> tuple[Transform, int]:
    """The transform of the degrees that the grid holds with all their orders, and how many these are: L degrees, L^2 harmonics."""
    size = min(held(sphere))
    return transform(sphere, size, size, dtype, device), size


def _coefficients(numbers: Float[Tensor, "L M B C"]) -> Float[Tensor, "L M 2 B C"]:
    """From L^2 standard normal numbers, each used once: real parts from the lower triangle l >= m, imaginary ones from the rest.

    For orders m > 0 the real harmonics are sqrt(2) P_lm cos and sin, so either part is the number over sqrt(2).
    """
    size = len(numbers)
    lower = torch.ones(size, size, dtype=torch.bool, device=numbers.device).tril()[..., None, None]
    real = numbers.where(lower, 0)
    above = numbers.where(~lower, 0).transpose(0, 1)  # (l, m - 1) with m - 1 < l
    imaginary = torch.cat([torch.zeros_like(above[:, :1]), above[:, :-1]], 1)
    share = numbers.new_full((size, 1, 1), math.sqrt(0.5))
    share[0] = 1
    return torch.stack([real * share, imaginary * share], 2) * (math.sqrt(4 * math.pi) / size)


@recorded
@dataclass(frozen=True)
class UnderMeasure:
    """White noise under the domain's measure: of a mesh with nodes of any volume, a box with stretched cells, the cells of a sphere."""

    def __call__(self, eps: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "B C *X"]:
        if isinstance(domain, Box) and domain.all_periodic:
            return eps  # all cells are equal
        one = eps.new_ones((1, 1, *domain.shape), dtype=torch.float64)
        measure = domain.measure.to(eps.device)
        mean = domain.integral(one) / domain.integral(one / measure)  # the integral of 1/m counts a member's points
        return eps * (domain.expand(mean) / measure).sqrt().to(eps.dtype)
