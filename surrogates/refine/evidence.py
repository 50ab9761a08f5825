"""Evidence about the frames of the next bundle, in physical units: what guides a sampler, weighs particles and chooses among candidates.

All evidence is one misfit r of unit variance at the truth, so that -|r|^2/2 is a log-likelihood and different kinds add:

    Observed     r = (y(t) - A(u(t))) / error         what instruments read
    Equation     r = residual(u_j, u_(j+1)) / error   what the PDE says of two frames (`pde.residual`), by component and point
    Defect       r = defect(u_(j+1)) / error          what a law says, its budget taken from the frame before
    Both         several of these side by side

Evidence is asked once a step, with the last frame, its conditions and the number of frames to come, and answers with the misfit of a
bundle, or None where it has nothing to say. A residual of dt's own size belongs to its error: with `error` far below that of true frames
the equation overrules the surrogate and the discretisation of the residual, not the PDE, is what is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from surrogates.contracts import Conditions, Constraint
from surrogates.pde.residual import Rule, residuals, trapezoidal
from surrogates.pde.spectral import Spectral
from surrogates.refine.measurement import Measurement, Observation, check_error

Numbers = Tensor | NDArray[Any] | Sequence[Any]
BundleMisfit = Callable[[Tensor], Tensor]
"""r: frames "B T C *X" -> "B N"."""


@runtime_checkable
class Evidence(Protocol):
    """The misfit of the `frames` frames after `last`, whose conditions are given; None where nothing is known of them."""

    def __call__(self, last: Float[Tensor, "B C *X"], conditions: Conditions, frames: int) -> BundleMisfit | None: ...


@dataclass(frozen=True, eq=False)
class Series:
    """Times of one measurement and what it read then: a function time -> observation for `Observed`.

    times: (K,), physical; values: (K, N), or of any shape that flattens to it, tensors, arrays of numpy or lists alike. All rows are held
    to the same readings: a step is told the times of its rows, not which trajectory each is of, and engines divide trajectories and members
    into rows as they like. Where trajectories have readings of their own, forecast each by itself, with a Series of its own.
    A frame is observed where its time is one of these to within `tolerance`, in time units: a thousandth of the shortest gap between them
    unless given (of a single time, a millionth of it or of one).
    Raises ValueError where times and values do not pair up.
    """

    measurement: Measurement
    times: Numbers
    values: Numbers
    tolerance: float | None = None

    def __post_init__(self) -> None:
        times, values = torch.as_tensor(self.times), torch.as_tensor(self.values)
        if times.ndim != 1 or len(times) != len(values) or values.ndim < 2:
            raise ValueError(f"{times.numel()} times but values of shape {tuple(values.shape)}; give (K,) and (K, N), one row a time")

    def __call__(self, time: Float[Tensor, " G"]) -> Observation | None:
        """The observation at the times of the rows; values of rows without one are NaN."""
        known = torch.as_tensor(self.times, dtype=torch.float64)
        near, which = (time[:, None] - known).abs().min(1)
        there = near <= (self._near(known) if self.tolerance is None else self.tolerance)
        if not bool(there.any()):
            return None
        every = torch.as_tensor(self.values)
        values = every.flatten(1)[which.to(every.device)]
        return Observation(self.measurement, values.masked_fill(~there.to(values.device)[:, None], torch.nan))

    @staticmethod
    def _near(times: Float[Tensor, " K"]) -> float:
        gaps = times.sort().values.diff()
        return 1e-3 * float(gaps.min()) if len(gaps) else 1e-6 * max(1.0, float(times.abs()))


@dataclass(frozen=True)
class Observed:
    """What `at` knows: a function of the frames' physical times (G,), one a row, such as a `Series`; None where nothing was read."""

    at: Callable[[Tensor], Observation | None]

    def __call__(self, last: Float[Tensor, "B C *X"], conditions: Conditions, frames: int) -> BundleMisfit | None:
        known = [(j, o) for j in range(frames) if (o := self.at(conditions.after(j + 1).time)) is not None]
        if not known:
            return None
        return lambda future: torch.cat([o.misfit(future[:, j]) for j, o in known], 1)


@dataclass(frozen=True)
class Equation:
    """The residual of a solver's equation; `error` is its deviation for true frames, in units of u per time, one or one a component.

    Raises ValueError for an error that is not positive.
    """

    solver: Spectral
    error: float | tuple[float, ...]
    rule: Rule = trapezoidal

    def __post_init__(self) -> None:
        check_error(torch.as_tensor(self.error))

    def __call__(self, last: Float[Tensor, "B C *X"], conditions: Conditions, frames: int) -> BundleMisfit | None:
        error = torch.as_tensor(self.error).to(last).reshape(-1, *(1,) * (last.ndim - 2))
        return lambda future: (-residuals(self.solver, last, future, conditions, self.rule) / error).flatten(1)


@dataclass(frozen=True)
class Defect:
    """The defects of a law from frame to frame; `error` is what is tolerated, in the units of each defect, one or one each."""

    law: Constraint
    error: float | tuple[float, ...]

    def __post_init__(self) -> None:
        check_error(torch.as_tensor(self.error))

    def __call__(self, last: Float[Tensor, "B C *X"], conditions: Conditions, frames: int) -> BundleMisfit | None:
        first = self.law.reference(last, conditions)

        def misfit(future: Tensor) -> Tensor:
            reference, defects = first, []
            for j, u in enumerate(future.unbind(1)):
                reference = self.law.advance(reference, u, conditions.after(j))
                defects.append(self.law.defect(u, reference, conditions.after(j + 1)).reshape(len(u), -1))
            r = -torch.stack(defects, 1)
            return (r / torch.as_tensor(self.error).to(r)).flatten(1).to(future.dtype)

        return misfit


@dataclass(frozen=True)
class Both:
    """Several kinds of evidence, whose errors are independent."""

    kinds: tuple[Evidence, ...]

    def __call__(self, last: Float[Tensor, "B C *X"], conditions: Conditions, frames: int) -> BundleMisfit | None:
        known = [r for kind in self.kinds if (r := kind(last, conditions, frames)) is not None]
        if not known:
            return None
        return lambda future: torch.cat([r(future) for r in known], 1)


def log_likelihood(
    evidence: Evidence, last: Float[Tensor, "B C *X"], future: Float[Tensor, "B T C *X"], conditions: Conditions
) -> Float[Tensor, " B"]:
    """-|r|^2/2, float64, up to a constant; 0 where nothing is known and -inf for a row that is not finite."""
    r = evidence(last, conditions, future.shape[1])
    if r is None:
        return torch.zeros(len(future), dtype=torch.float64, device=future.device)
    value = -r(future).double().square().sum(1) / 2
    return value.nan_to_num(nan=-torch.inf)
