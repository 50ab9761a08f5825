"""What surrounds a step as time goes on: known fields, boundary values, sources, parameters and dt after n frames.

`begin` is called once for a group of rows, where something is chosen or drawn by row (the rows of a file, perturbed parameters); `at`
before each step, with what `begin` returned:

    time_n = time_0 + sum_{i < n} dt_i,   parameters_n = p(time_n),   forcing, boundary, source term, inflow: functions of time.

A bundle is made with the dt of its first frame: let dt change only between bundles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.data.mesh_features import as_trained
from surrogates.data.series import Series, opened, values_of
from surrogates.fields import Fields
from surrogates.forecast.perturbations import ALL_BUT_THE_FIRST, STEP, Members
from surrogates.identity import function_identity, identity_of
from surrogates.interchange import FORCINGS, STATIC, declared, domain_of, trajectories_of
from surrogates.noise import SeededNoise
from surrogates.record import recorded

OfTime: TypeAlias = Callable[[Tensor], Tensor]
"""From physical times (G,), float64 on the CPU, to (G, C, *X), or for a parameter to (G,)."""


@runtime_checkable
class Surroundings(Protocol):
    """`arguments` describe it, so that a run knows itself by them."""

    def begin(self, conditions: Conditions, noise: SeededNoise) -> Conditions:
        """The conditions of the rows before the first step, `conditions` being those of the initial state, on the step's device."""
        ...

    def at(self, conditions: Conditions, n: int) -> Conditions:
        """The conditions when n frames have been made; `conditions` are those of `begin`."""
        ...


class Given:
    """Surroundings that are told: each a function of time, a `Series` of a file, a `Nested` area, or for `parameters` also a number.

    `static` is a tensor (1, Cs, *X) for all, (B, Cs, *X) with a row for each of `trajectories` (ids; by default 0, 1, ...), or names of
    variables without time in `source`. `dt` is a number, one a frame, or a function of the number of frames made. Raises ValueError for a
    dt that is not positive or runs out, and for a trajectory that the static fields lack.
    """

    def __init__(
        self,
        forcing: OfTime | None = None,
        boundary: OfTime | None = None,
        static: Tensor | Sequence[str] | None = None,
        parameters: Mapping[str, float | OfTime] | None = None,
        *,
        dt: float | Sequence[float] | Callable[[int], float] | None = None,
        source: Any = None,
        trajectories: Sequence[int] | None = None,
        source_term: OfTime | None = None,
        inflow: OfTime | None = None,
    ) -> None:
        self.of_time = {"forcing": forcing, "boundary": boundary, "source_term": source_term, "inflow": inflow}
        self.parameters, self.dt = dict(parameters or {}), dt
        if static is not None and not isinstance(static, Tensor) and source is None:
            raise ValueError(f"static fields {list(static)} are named but there is no source to read them from; pass source=")
        self.static = static
        self._ids = list(range(len(static))) if isinstance(static, Tensor) and trajectories is None else list(trajectories or ())
        if isinstance(static, Tensor) and len(static) > 1 and len(self._ids) != len(static):
            raise ValueError(f"the static fields have {len(static)} rows but there are {len(self._ids)} trajectories; give one for each")
        self.dataset = None if source is None else opened(source)
        self.arguments = {
            "forcing": None if forcing is None else function_identity(forcing),
            "boundary": None if boundary is None else function_identity(boundary),
            "static": _of_static(static),
            "parameters": {k: _of_parameter(v) for k, v in self.parameters.items()},
            "dt": function_identity(dt) if callable(dt) else dt,
            "source": None if source is None else identity_of(source),
            **({} if trajectories is None else {"trajectories": self._ids}),
            **{k: function_identity(f) for k, f in (("source_term", source_term), ("inflow", inflow)) if f is not None},
        }
        self._clock = Clock(dt) if dt is not None else None

    def counted(self, about: Mapping[str, str]) -> Given:
        """The same with dates counted as `about` says, the CF units and calendar of the forecast."""
        out = Given.__new__(Given)
        out.__dict__.update(self.__dict__)
        out.of_time = {k: counted(f, about) for k, f in self.of_time.items()}
        out.parameters = {k: counted(v, about) for k, v in self.parameters.items()}
        out.arguments = {**self.arguments, "parameters": {k: _of_parameter(v) for k, v in out.parameters.items()}}
        out.arguments |= {k: function_identity(f) for k, f in out.of_time.items() if f is not None}
        return out

    def as_trained(self, static: Fields | None) -> Given:
        """The same with the static fields of a mesh's source as a surrogate takes them. Raises ValueError as `mesh_features.as_trained`."""
        if self.dataset is None or static is None or self.static is None or isinstance(self.static, Tensor):
            return self
        held = as_trained(self.dataset, static)
        if held is self.dataset:
            return self
        out = Given.__new__(Given)
        out.__dict__.update(self.__dict__)
        out.dataset, out.static = held, [v for f in static for v in f.variables]
        out.arguments = {**self.arguments, "static": list(out.static)}
        return out

    def begin(self, conditions: Conditions, noise: SeededNoise) -> Conditions:
        """Rows of files by their trajectory, everything on the device and in the precision of the parameters."""
        like = conditions.parameters
        given = {name: f.of(noise.trajectories) if hasattr(f, "of") else f for name, f in self.of_time.items() if f is not None}
        moved: dict[str, Any] = {name: Moved(f, like.device) for name, f in given.items()}
        out = replace(conditions, **moved)
        if self.static is not None:
            static, rows = self._static(noise.trajectories), len(noise.trajectories)
            dtype = like.dtype if like.dtype.is_floating_point and like.numel() else torch.float32
            out = replace(out, static=static.expand(rows, *static.shape[1:]).to(like.device, dtype))
        return self._with_parameters(out)

    def at(self, conditions: Conditions, n: int) -> Conditions:
        if self._clock is None:
            out = conditions.after(n)
        else:
            ones = torch.ones_like(conditions.time)
            out = replace(conditions, time=conditions.time + self._clock.time(n), dt=self._clock.step(n) * ones)
        return self._with_parameters(out)

    def _with_parameters(self, conditions: Conditions) -> Conditions:
        out = conditions
        for name, value in self.parameters.items():
            column = value(out.time) if callable(value) else torch.full_like(out.time, value)
            out = with_parameter(out, name, column.reshape(-1))
        return out

    def _static(self, trajectories: Sequence[int]) -> Tensor:
        """One row for all of these trajectories, or one for each."""
        assert self.static is not None
        if isinstance(self.static, Tensor):
            values, ids = self.static, self._ids
        else:
            assert self.dataset is not None
            values = values_of(self.dataset, list(self.static))
            ids = trajectories_of(self.dataset) if len(values) > 1 else []
        if len(values) == 1:
            return values
        missing = sorted(set(trajectories) - set(ids))
        if missing:
            raise ValueError(f"the static fields have no trajectories {missing}; they have {ids}: pass trajectories=, or one row for all")
        return values[[ids.index(i) for i in trajectories]]


def surroundings_of(dataset: xr.Dataset) -> Given | None:
    """The forcings and static fields that a Dataset declares, for forecasts of its trajectories; None where it declares none."""
    forcings, static = declared(dataset, FORCINGS), declared(dataset, STATIC)
    if forcings is None and static is None:
        return None
    names = [v for f in forcings or () for v in f.variables]
    forcing = Series(dataset, names, domain_of(dataset).shape) if names else None
    return Given(forcing, static=[v for f in static for v in f.variables] if static else None, source=dataset if static else None)


class Clock:
    """When frame n is due, counted from the initial state, for steps of unequal length."""

    def __init__(self, dt: float | Sequence[float] | Callable[[int], float]) -> None:
        self._dt = dt
        self._sums = list(accumulate(map(float, dt), initial=0.0)) if isinstance(dt, Sequence) else [0.0]
        if isinstance(dt, Sequence) and not min(dt, default=0.0) > 0:
            raise ValueError(f"every dt must be positive, got {list(dt)}")

    def step(self, n: int) -> float:
        """dt of frame n. Raises ValueError where it is not positive, or there is none."""
        if isinstance(self._dt, Sequence):
            if n > len(self._dt):
                raise ValueError(f"there are {len(self._dt)} steps dt but frame {n + 1} was asked for; give one a frame")
            value = float(self._dt[min(n, len(self._dt) - 1)])  # after the last frame nothing is stepped any more
        else:
            value = float(self._dt(n) if callable(self._dt) else self._dt)
        if not value > 0:
            raise ValueError(f"dt of frame {n} is {value:g}; it must be positive")
        return value

    def time(self, n: int) -> float:
        """The time that n frames take."""
        if not callable(self._dt) and not isinstance(self._dt, Sequence):
            return n * float(self._dt)
        while len(self._sums) <= n:
            self._sums.append(self._sums[-1] + self.step(len(self._sums) - 1))
        return self._sums[n]


@recorded
class PerturbedParameters:
    """Surroundings in which every member has parameters of its own, held for the whole forecast.

    `shares` of log-normal deviation, p exp(s xi - s^2/2), which keep the sign and the mean; `absolute` deviations, p + s xi. xi is standard
    normal, one for each (seed, trajectory, member, parameter); the control keeps its parameters and pairs take +-xi. `inside` gives
    the rest. Raises KeyError for a parameter that there is not, and ValueError for one that `inside` prescribes.
    """

    def __init__(
        self,
        shares: Mapping[str, float] | None = None,
        absolute: Mapping[str, float] | None = None,
        *,
        members: Members = ALL_BUT_THE_FIRST,
        inside: Surroundings | None = None,
    ) -> None:
        self.shares, self.absolute, self.members, self.inside = dict(shares or {}), dict(absolute or {}), members, inside or Given()
        both = self.shares.keys() & self.absolute.keys()
        if both or not {**self.shares, **self.absolute} or min({**self.shares, **self.absolute}.values()) < 0:
            raise ValueError(f"give each perturbed parameter one deviation that is not negative, got {self.shares} and {self.absolute}")

    def counted(self, about: Mapping[str, str]) -> PerturbedParameters:
        return PerturbedParameters(self.shares, self.absolute, members=self.members, inside=counted(self.inside, about))

    def begin(self, conditions: Conditions, noise: SeededNoise) -> Conditions:
        out, drawn = self.inside.begin(conditions, noise), self.members.draws(noise)
        for name, s in {**self.shares, **self.absolute}.items():
            p = out.parameter(name).double()
            like = torch.empty(len(noise.members), 1, dtype=torch.float64, device=p.device)
            sign = self.members.signs(noise, p)
            xi = sign * drawn(like, step=STEP, draw=1 + out.names.index(name))[:, 0]
            new = p * (s * xi - s * s / 2).exp() if name in self.shares else p + s * xi
            out = with_parameter(out, name, torch.where(sign == 0, p, new))
            if not torch.equal(self.inside.at(out, 0).parameter(name), out.parameter(name)):
                raise ValueError(f"{name!r} is perturbed and prescribed in time at once; perturb the prescription instead")
        return out

    def at(self, conditions: Conditions, n: int) -> Conditions:
        return self.inside.at(conditions, n)


def with_parameter(conditions: Conditions, name: str, values: Float[Tensor, " G"]) -> Conditions:
    """The same conditions with one parameter set, or added."""
    p = conditions.parameters
    column = values.to(p)[:, None]
    if name not in conditions.names:
        return replace(conditions, parameters=torch.cat([p, column], 1), names=(*conditions.names, name))
    i = conditions.names.index(name)
    return replace(conditions, parameters=torch.cat([p[:, :i], column, p[:, i + 1 :]], 1))


@dataclass(frozen=True)
class Moved:
    """The same function of time, whose values come on `device`."""

    function: OfTime
    device: torch.device

    def __call__(self, t: Tensor) -> Tensor:
        return self.function(t).to(self.device)

    def at_rows(self, index: Tensor) -> Moved:
        return replace(self, function=self.function.at_rows(index)) if hasattr(self.function, "at_rows") else self


def frame_times(surroundings: Surroundings | None, conditions: Conditions, frames: int) -> Float[Tensor, " T"]:
    """When the frames of a forecast are due, float64: after `conditions`, those of the first row."""
    if surroundings is None:
        return conditions.time[0] + conditions.dt[0] * torch.arange(1, frames + 1, dtype=torch.float64)
    return torch.stack([surroundings.at(conditions, n).time[0] for n in range(1, frames + 1)])


def counted(part: Any, about: Mapping[str, str]) -> Any:
    """Surroundings, or a function of time, with dates counted as those of a forecast; what has none stays as it is."""
    return part.counted(about) if hasattr(part, "counted") else part


def _of_parameter(value: float | OfTime) -> Any:
    return value if isinstance(value, int | float) else function_identity(value)


def _of_static(static: Tensor | Sequence[str] | None) -> Any:
    if isinstance(static, Tensor):
        from surrogates.identity import digest

        return digest({"static": static})
    return None if static is None else list(static)
