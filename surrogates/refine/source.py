"""What a flow starts from at s = 1, and therefore in which coordinates it runs.

    GaussianSource    e = eps                          x = (truth - guess) / scale, or truth / scale without a guess
    GuessSource       e = guess + std scale eps        x = truth
    PreviousSource    e = previous + std scale eps     x = truth

with eps standard normal at every point, white unless a `colour` correlates it in space. On a path with a + b = 1 (the linear one)
these differ only in what the network sees: a flow from the previous state plus noise is a flow from noise to the tendency, and one
from the guess plus noise is a flow from noise to the residual. On a variance-preserving path they are different processes. Source of
the split of source, path, objective and target: the options of Anemoi's flow models; of the reduction, Chen et al., "Probabilistic
forecasting with stochastic interpolants and Follmer processes", 2024, https://arxiv.org/abs/2403.13724, where the source is the
previous state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from surrogates.contracts import Domain
from surrogates.record import recorded

Number = float | Tensor
"""A number or a tensor that broadcasts against "B C *X"."""


class Frame(NamedTuple):
    """x = (truth - shift) / unit is generated from e = mean + std eps, and velocities are counted in units of `gain`."""

    shift: Number
    unit: Number
    mean: Number
    std: Number
    gain: Number


@runtime_checkable
class Colour(Protocol):
    """From independent standard normal numbers to noise that is correlated in space, of unit variance (on average over the domain)."""

    def __call__(self, eps: Tensor, domain: Domain) -> Tensor: ...


@recorded
@dataclass(frozen=True)
class White:
    """Every point on its own."""

    def __call__(self, eps: Tensor, domain: Domain) -> Tensor:
        return eps


WHITE = White()
"""The usual colour, shared since it holds nothing."""


@runtime_checkable
class Source(Protocol):
    """The frame from the deterministic guess, the previous state (either may be absent) and the scale per channel."""

    @property
    def colour(self) -> Colour: ...
    def frame(self, guess: Tensor | None, previous: Tensor | None, scale: Tensor) -> Frame: ...


@recorded
@dataclass(frozen=True)
class GaussianSource:
    """Standard normal noise; where there is a guess, its scaled residual is generated."""

    colour: Colour = WHITE

    def frame(self, guess: Tensor | None, previous: Tensor | None, scale: Tensor) -> Frame:
        return Frame(0.0 if guess is None else guess, scale, 0.0, 1.0, 1.0)


@recorded
@dataclass(frozen=True)
class GuessSource:
    """The guess plus noise of `std` times the scale."""

    std: float = 1.0
    colour: Colour = WHITE

    def frame(self, guess: Tensor | None, previous: Tensor | None, scale: Tensor) -> Frame:
        if guess is None:
            raise ValueError("GuessSource starts from a deterministic guess but guess is None; give one, or write GaussianSource()")
        return Frame(0.0, 1.0, guess, self.std * scale, scale)


@recorded
@dataclass(frozen=True)
class PreviousSource:
    """The previous state plus noise of `std` times the scale; what is generated must be a state, not a tendency.

    Where a bundle of T frames is generated, C counts them all and the source is the T frames before it.
    """

    std: float = 1.0
    colour: Colour = WHITE

    def frame(self, guess: Tensor | None, previous: Tensor | None, scale: Tensor) -> Frame:
        if previous is None:
            raise ValueError(
                "PreviousSource starts from the previous state but the context has fewer channels than what is generated; let the context "
                "end in as many frames as a bundle has (`data: {history: ...}` at least `bundle`), or write GaussianSource()"
            )
        return Frame(0.0, 1.0, previous, self.std * scale, scale)


GAUSSIAN = GaussianSource()
"""The usual source, shared since it holds nothing."""
