"""Perturbed initial states: what makes the members of an ensemble differ before the first step.

    u_m = u + sigma_m e_m,     sigma_0 = 0 (the control),     and in pairs  e_2 = e_1, sigma_2 = -sigma_1,  e_4 = e_3, ...

A `Perturbation` is called once for a group of rows, with all frames that the initial state holds (the last is the present) and the
rows' noise, whose `trajectories` and `members` say which row is which. Draws are made at step numbers that no forecast uses, so a row
depends on (seed, trajectory, member) alone. The size of e is `amplitude`: a share of each channel's own deviation over space, or a
number a field, in its units. Pairs make the mean of the ensemble the control, to first order in the perturbation.

Source: Leutbecher and Palmer, "Ensemble forecasting", J. Comput. Phys. 227, 2008, https://doi.org/10.1016/j.jcp.2007.02.014.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Constraint, Domain
from surrogates.fields import Fields
from surrogates.noise import SeededNoise
from surrogates.record import recorded
from surrogates.refine.colour import UnderMeasure

STEP = -1
"""The step number of initial draws; the runs that lead up to the present count down from the next."""


@runtime_checkable
class Perturbation(Protocol):
    """Other initial states for the rows of a group; physical, as many frames as came in. `arguments` describe it (`@recorded`)."""

    def __call__(self, past: Float[Tensor, "B H C *X"], conditions: Conditions, noise: SeededNoise) -> Float[Tensor, "B H C *X"]: ...


@runtime_checkable
class Colour(Protocol):
    """From independent standard normal numbers to noise of unit deviation on a domain (`surrogates.refine.colour`, `ClimateSpectrum`)."""

    def __call__(self, eps: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "B C *X"]: ...


@recorded
@dataclass(frozen=True)
class Members:
    """Which members are perturbed: all but a `control`, member 0; `paired` gives every second of them its partner's draw, negated."""

    control: bool = True
    paired: bool = False

    def number(self, member: int) -> int:
        """The draw that a member takes, counted from 1; 0 for the control."""
        n = member if self.control else member + 1
        return (n + 1) // 2 if self.paired else n

    def sign(self, member: int) -> int:
        """0 for the control, -1 for the second of a pair, else 1."""
        n = member if self.control else member + 1
        return 0 if n == 0 else -1 if self.paired and n % 2 == 0 else 1

    def signs(self, noise: SeededNoise, like: Tensor) -> Float[Tensor, " B"]:
        """One a row."""
        return torch.tensor([float(self.sign(m)) for m in noise.members], dtype=like.dtype, device=like.device)

    def draws(self, noise: SeededNoise) -> SeededNoise:
        """The same rows, keyed by the draw that each takes."""
        return replace(noise, members=[self.number(m) for m in noise.members])


ALL_BUT_THE_FIRST = Members()


@recorded
class Gaussian:
    """e = amplitude * colour(eps): white under the domain's measure where no `colour` is given, the same for all frames of the past.

    `amplitude` is a share of the deviation over space of each row and channel, or a mapping from the names of `fields` to numbers in
    their units. A `law` (such as `DivergenceFree(fields)`) is laid on the perturbed state, with the budget of the unperturbed one; what
    it takes away is not made up for. Raises ValueError for a negative amplitude and for names without `fields`, KeyError for unknown ones.
    """

    def __init__(
        self,
        amplitude: float | Mapping[str, float],
        fields: Fields | None = None,
        *,
        colour: Colour | None = None,
        law: Constraint | None = None,
        members: Members = ALL_BUT_THE_FIRST,
    ) -> None:
        self.size, self.colour, self.law, self.members = Size(amplitude, fields), colour, law, members

    def __call__(self, past: Float[Tensor, "B H C *X"], conditions: Conditions, noise: SeededNoise) -> Float[Tensor, "B H C *X"]:
        u, domain = past[:, -1], conditions.domain
        eps = self.members.draws(noise)(u, step=STEP, draw=0)
        e = (self.colour or white)(eps, domain) * self.size(u, domain)
        return added(past, e, conditions, noise, self.members, self.law)


@recorded
class RandomPhases:
    """e_k = amplitude u_k exp(i phi_k), k != 0, with random phases phi_-k = -phi_k that all channels share: the state's own spectrum.

    Shared phases keep what the channels of one mode have to do with each other: k . e_k = 0 where k . u_k = 0, so a velocity stays free of
    divergence. The mean stays. For the climate's spectrum take `Gaussian(colour=ClimateSpectrum.fit(training))`. Raises TypeError off a
    periodic Box.
    Source: Prichard and Theiler, "Generating surrogate data for time series with several simultaneously measured variables", Phys. Rev.
    Lett. 73, 1994, https://arxiv.org/abs/comp-gas/9405002.
    """

    def __init__(self, amplitude: float, *, members: Members = ALL_BUT_THE_FIRST) -> None:
        if amplitude < 0:
            raise ValueError(f"amplitude must not be negative, got {amplitude}")
        self.amplitude, self.members = amplitude, members

    def __call__(self, past: Float[Tensor, "B H C *X"], conditions: Conditions, noise: SeededNoise) -> Float[Tensor, "B H C *X"]:
        u, domain = past[:, -1], conditions.domain
        if not getattr(domain, "all_periodic", False):
            raise TypeError(f"RandomPhases turns Fourier modes of a periodic Box, got {domain}; take Gaussian there")
        dims = tuple(range(2, u.ndim))
        eps = self.members.draws(noise)(u[:, :1], step=STEP, draw=0)
        turn = torch.fft.rfftn(eps, dim=dims)
        turn = turn / turn.abs().clamp_min(torch.finfo(eps.dtype).tiny)
        turn[(slice(None), slice(None), *(0,) * len(dims))] = 0
        e = self.amplitude * torch.fft.irfftn(torch.fft.rfftn(u, dim=dims) * turn, s=u.shape[2:], dim=dims)
        return added(past, e, conditions, noise, self.members, None)


class Size:
    """How large a perturbation is, by member and channel, spread over the points."""

    def __init__(self, amplitude: float | Mapping[str, float], fields: Fields | None = None) -> None:
        values = list(amplitude.values()) if isinstance(amplitude, Mapping) else [amplitude]
        if min(values, default=0.0) < 0:
            raise ValueError(f"an amplitude must not be negative, got {amplitude}")
        if isinstance(amplitude, Mapping):
            if fields is None:
                raise ValueError(f"amplitudes by name, {dict(amplitude)}, need the fields: pass fields=step.inputs")
            self.absolute: list[float] | None = [0.0] * fields.count
            for name, value in amplitude.items():
                where = fields.slice(name)
                self.absolute[where] = [float(value)] * (where.stop - where.start)
        else:
            self.absolute, self.share = None, float(amplitude)

    def __call__(self, u: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "B C *X"]:
        if self.absolute is None:
            return self.share * deviation(u, domain)
        if len(self.absolute) != u.shape[1]:
            raise ValueError(f"the amplitudes were made for {len(self.absolute)} channels but the state has {u.shape[1]}; pass its fields")
        return u.new_tensor(self.absolute).reshape(1, -1, *(1,) * (u.ndim - 2)).expand_as(u)


def white(eps: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "B C *X"]:
    """White under the domain's measure, with a mean variance of one (`refine.colour.UnderMeasure`)."""
    return UnderMeasure()(eps, domain)


def deviation(u: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "B C *X"]:
    """The standard deviation over space of each member and channel under the domain's measure, spread over its points."""
    volume = domain.integral(torch.ones_like(u[:, :1], dtype=torch.float64))
    fluctuation = u.double() - domain.expand(domain.integral(u) / volume)
    return domain.expand((domain.integral(fluctuation.square()) / volume).sqrt()).to(u.dtype)


def added(
    past: Float[Tensor, "B H C *X"],
    e: Float[Tensor, "B C *X"],
    conditions: Conditions,
    noise: SeededNoise,
    members: Members,
    law: Constraint | None,
) -> Float[Tensor, "B H C *X"]:
    """past + sign e in every frame, under a law where there is one. The control comes back as it went in, bit for bit."""
    sign = members.signs(noise, past).reshape(-1, *(1,) * (e.ndim - 1))
    out = past + (sign * e)[:, None]
    if law is not None:
        frames = [law(v, law.reference(u, conditions), conditions) for u, v in zip(past.unbind(1), out.unbind(1), strict=True)]
        out = torch.stack(frames, 1)
    return torch.where((sign == 0)[:, None], past, out)
