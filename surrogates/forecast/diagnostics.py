"""What is measured of a forecast on the way, so that its frames need not be kept. Everything is in float64, channel by channel.

A `Series` is one value, or one spectrum, a frame; a `Running` one field over all frames, held in sums that are stored with the state
of a run, so that a run which was cut goes on with them:

    integral_u    int u dx                            u_mean      sum_n u_n / N
    energy_u      1/2 int u^2 dx                      u_variance  sum_n (u_n - mean)^2 / N, merged block by block
    spectrum_u    1/2 |u_k|^2 by shell or by degree   u_minimum, u_maximum

A member that failed has NaN from there on, and in all that runs over time.
Source of the merged variance: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances,
Stanford STAN-CS-79-773 (1979), http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.domains import Sphere
from surrogates.domains.layout import AnyDomain
from surrogates.errors import nearest
from surrogates.metrics.shells import shell_spectrum, shell_wavenumbers
from surrogates.record import recorded

Held = Mapping[str, Tensor]


@runtime_checkable
class Series(Protocol):
    """One value a frame and channel, variable `<name>_<channel>`; `dims` are its dims beyond time, (values, attributes) each."""

    @property
    def name(self) -> str: ...
    def dims(self, domain: AnyDomain) -> Mapping[str, tuple[Any, Mapping[str, str]]]: ...
    def units(self, units: str, domain: AnyDomain) -> str: ...
    def __call__(self, u: Float[Tensor, "B T C *X"], domain: AnyDomain) -> Float[Tensor, "B T C *E"]: ...


@runtime_checkable
class Running(Protocol):
    """Fields over all frames, variables `<channel>_<name>`; `update` takes what it returned before, nothing at first."""

    @property
    def names(self) -> tuple[str, ...]: ...
    def units(self, units: str, name: str) -> str: ...
    def update(self, held: Held, u: Float[Tensor, "B T C *X"]) -> Held: ...
    def value(self, held: Held) -> Mapping[str, Float[Tensor, "B C *X"]]: ...


@recorded
@dataclass(frozen=True)
class Integral:
    """The integral over space: a budget."""

    name = "integral"

    def dims(self, domain: AnyDomain) -> Mapping[str, tuple[Any, Mapping[str, str]]]:
        return {}

    def units(self, units: str, domain: AnyDomain) -> str:
        return _times_volume(units, domain)

    def __call__(self, u: Float[Tensor, "B T C *X"], domain: AnyDomain) -> Float[Tensor, "B T C"]:
        return domain.integral(u.flatten(0, 1)).reshape(u.shape[:3])


@recorded
@dataclass(frozen=True)
class Energy:
    """Half the integral of the square: of a velocity's components, together, the kinetic energy."""

    name = "energy"

    def dims(self, domain: AnyDomain) -> Mapping[str, tuple[Any, Mapping[str, str]]]:
        return {}

    def units(self, units: str, domain: AnyDomain) -> str:
        return _times_volume(_squared(units), domain)

    def __call__(self, u: Float[Tensor, "B T C *X"], domain: AnyDomain) -> Float[Tensor, "B T C"]:
        return domain.integral(u.flatten(0, 1).double().square()).reshape(u.shape[:3]) / 2


@recorded
@dataclass(frozen=True)
class Spectrum:
    """1/2 |u_k|^2 summed over shells of a periodic Box, or over the orders of each degree on a Sphere; all add up to 1/2 <u^2>."""

    name = "spectrum"

    def dims(self, domain: AnyDomain) -> Mapping[str, tuple[Any, Mapping[str, str]]]:
        if isinstance(domain, Sphere):
            return {"degree": (list(range(_degrees(domain))), {"long_name": "degree of the spherical harmonic", "units": "1"})}
        units = "rad" if domain.units == "1" else f"rad ({domain.units})-1"
        return {"wavenumber": (shell_wavenumbers(domain).numpy(), {"long_name": "wavenumber of the shell", "units": units})}

    def units(self, units: str, domain: AnyDomain) -> str:
        return _squared(units)

    def __call__(self, u: Float[Tensor, "B T C *X"], domain: AnyDomain) -> Float[Tensor, "B T C S"]:
        return _by_degree(u, domain) if isinstance(domain, Sphere) else shell_spectrum(u, domain)


@recorded
@dataclass(frozen=True)
class Mean:
    """The time mean."""

    names = ("mean",)

    def units(self, units: str, name: str) -> str:
        return units

    def update(self, held: Held, u: Float[Tensor, "B T C *X"]) -> Held:
        count, total = torch.tensor(float(u.shape[1]), dtype=torch.float64), u.double().sum(1)
        return {"count": held["count"] + count, "sum": held["sum"] + total} if held else {"count": count, "sum": total}

    def value(self, held: Held) -> Mapping[str, Float[Tensor, "B C *X"]]:
        return {"mean": held["sum"] / held["count"]}


@recorded
@dataclass(frozen=True)
class Variance:
    """The variance in time, about the time mean, over N."""

    names = ("variance",)

    def units(self, units: str, name: str) -> str:
        return _squared(units)

    def update(self, held: Held, u: Float[Tensor, "B T C *X"]) -> Held:
        n, mean = torch.tensor(float(u.shape[1]), dtype=torch.float64), u.double().mean(1)
        squares = (u.double() - mean[:, None]).square().sum(1)
        if not held:
            return {"count": n, "mean": mean, "squares": squares}
        both, jump = held["count"] + n, mean - held["mean"]
        joined = held["squares"] + squares + jump.square() * (held["count"] * n / both)
        return {"count": both, "mean": held["mean"] + jump * (n / both), "squares": joined}

    def value(self, held: Held) -> Mapping[str, Float[Tensor, "B C *X"]]:
        return {"variance": held["squares"] / held["count"]}


@recorded
@dataclass(frozen=True)
class Extremes:
    """The smallest and the largest value in time, point by point."""

    names = ("minimum", "maximum")

    def units(self, units: str, name: str) -> str:
        return units

    def update(self, held: Held, u: Float[Tensor, "B T C *X"]) -> Held:
        low, high = u.double().amin(1), u.double().amax(1)
        return {"low": torch.minimum(held["low"], low), "high": torch.maximum(held["high"], high)} if held else {"low": low, "high": high}

    def value(self, held: Held) -> Mapping[str, Float[Tensor, "B C *X"]]:
        return {"minimum": held["low"], "maximum": held["high"]}


KNOWN: dict[str, type[Any]] = {
    "integral": Integral,
    "energy": Energy,
    "spectrum": Spectrum,
    "mean": Mean,
    "variance": Variance,
    "extremes": Extremes,
}


def diagnostic(what: str | Series | Running) -> Series | Running:
    """One of `KNOWN` by its name; another as it is. Raises ValueError for a name that is not known."""
    if not isinstance(what, str):
        return what
    if what not in KNOWN:
        raise ValueError(f"diagnostic {what!r} is unknown{nearest(what, KNOWN)}; write one of {', '.join(KNOWN)}")
    made: Series | Running = KNOWN[what]()
    return made


def _squared(units: str) -> str:
    return "1" if units == "1" else f"({units})2"


def _times_volume(units: str, domain: AnyDomain) -> str:
    size = "1" if domain.units == "1" else f"({domain.units}){domain.dim}"
    return size if units == "1" else units if size == "1" else f"{units} {size}"


def _degrees(sphere: Sphere) -> int:
    from surrogates.domains.legendre import held

    return min(held(sphere))


def _by_degree(u: Float[Tensor, "B T C lat lon"], sphere: Sphere) -> Float[Tensor, "B T C L"]:
    from surrogates.domains.harmonics import analyse, dense, transform

    degrees = _degrees(sphere)
    t = transform(sphere, degrees, degrees, torch.float64, u.device)
    c = dense(analyse(u.double().permute(3, 4, 0, 1, 2).flatten(2), t), t)
    power = c.square().sum(2)
    total = 2 * power.sum(1) - power[:, 0]
    return (total / (8 * pi)).movedim(0, -1).reshape(*u.shape[:3], degrees)
