"""The contracts between the rooms: what a step, an operator, a refiner, a constraint, a metric and a domain promise.

Axes, in the letters that every annotation uses:

    B batch row   G independent member of the batch (G = B on grids)   H history   T frames of a bundle   M ensemble member
    C channel     P parameter   E embedding   R reference   K defect   D space dimension   *X space: (x,), (x, y), (x, y, z)

`t` and `dt` are physical time; refinement time is `s`, 1 at the noise or source and 0 at the data. Tensors are physical
(with the units of `Fields`) everywhere outside `Surrogate`, `operators` and `refine`, which see normalised values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surrogates.fields import Fields

State = Mapping[str, Tensor]
"""All that a step carries from one call to the next; exactly what a resumed run stores, at full precision."""


@runtime_checkable
class Noise(Protocol):
    """Standard normal draws whose row b depends only on (seed, trajectory_b, member_b, step, draw)."""

    def __call__(self, like: Tensor, *, step: int, draw: int) -> Tensor: ...


@runtime_checkable
class Draws(Protocol):
    """`Noise` at one step: what a refiner is handed, so that it need not know the time."""

    def __call__(self, like: Tensor, *, draw: int) -> Tensor: ...


@runtime_checkable
class Domain(Protocol):
    """Geometry: the one source of coordinates, weights, integrals and averages."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def members(self) -> int: ...
    @property
    def mask(self) -> Bool[Tensor, "*X"] | None: ...
    @property
    def measure(self) -> Float[Tensor, "*X"]: ...

    def integral(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "G C"]: ...
    def expand(self, values: Float[Tensor, "G P"]) -> Float[Tensor, "B P *X"]: ...


OF_TIME = ("forcing", "boundary", "source_term", "inflow")
"""What of the conditions is a function of time."""


@dataclass(frozen=True)
class Conditions:
    """What surrounds a step: where, when, how far, with which coefficients.

    `time` and `dt` are float64 and one per member; `parameters` are physical and named by `names` in order. `forcing` (known fields
    that a network reads), `boundary` (fields whose values at the edge hold), `source_term` (what drives each channel of the state, as
    du/dt) and `inflow` (what enters each cell through the boundary of the domain, in units of the field times volume a unit of time; 0 in
    cells that do not touch it) are functions of physical time, so that a bundle, a substep or a variable dt can ask for what it needs:
    from times (G,) to (B, C, *X). One whose rows differ has a method `at_rows(index)`, the function of those rows.
    """

    domain: Domain
    time: Float[Tensor, " G"]
    dt: Float[Tensor, " G"]
    parameters: Float[Tensor, "G P"]
    names: tuple[str, ...] = ()
    static: Float[Tensor, "B Cs *X"] | None = None
    forcing: Callable[[Tensor], Tensor] | None = field(default=None, compare=False)
    boundary: Callable[[Tensor], Tensor] | None = field(default=None, compare=False)
    source_term: Callable[[Tensor], Tensor] | None = field(default=None, compare=False)
    inflow: Callable[[Tensor], Tensor] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.time.dtype != torch.float64 or self.dt.dtype != torch.float64:
            raise ValueError(f"time and dt must be float64, got {self.time.dtype} and {self.dt.dtype}")
        if self.parameters.shape[-1] != len(self.names):
            raise ValueError(f"parameters have {self.parameters.shape[-1]} columns but names {self.names} has {len(self.names)}")

    def parameter(self, name: str) -> Float[Tensor, " G"]:
        """The values of one parameter. Raises KeyError with the names that exist."""
        if name not in self.names:
            raise KeyError(f"parameter {name!r} is not among the conditions {self.names}; pass it with the initial state")
        return self.parameters[:, self.names.index(name)]

    def after(self, frames: int) -> Conditions:
        """The same conditions `frames` steps of dt later."""
        return replace(self, time=self.time + frames * self.dt)

    def rows(self, index: Tensor) -> Conditions:
        """The conditions of the members `index` (repeats allowed: an ensemble repeats each trajectory)."""
        static = None if self.static is None else self.static[index]
        functions = {name: getattr(self, name) for name in OF_TIME}
        chosen = {name: getattr(f, "at_rows", lambda _, f=f: f)(index) for name, f in functions.items()}
        return replace(self, time=self.time[index], dt=self.dt[index], parameters=self.parameters[index], static=static, **chosen)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Conditions:
        """The same on `device`; parameters and static fields in `dtype`, time and dt stay float64 on the CPU."""
        static = None if self.static is None else self.static.to(device, dtype)
        return replace(self, parameters=self.parameters.to(device, dtype), static=static)


@runtime_checkable
class Operator(Protocol):
    """A network, normalised to normalised, at any resolution its mathematics allows."""

    def __call__(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]: ...


@runtime_checkable
class Refiner(Protocol):
    """Source x path x objective x operator x sampler, in normalised units; `guess` absent means purely generative."""

    def __call__(
        self,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
        correct: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "B C *X"]: ...

    def loss(
        self,
        truth: Float[Tensor, "B C *X"],
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
    ) -> Float[Tensor, " G"]: ...


@runtime_checkable
class Constraint(Protocol):
    """A law, pure and in physical units, under the domain's measure."""

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]: ...
    def advance(self, reference: Float[Tensor, "G R"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G R"]: ...
    def defect(self, u: Float[Tensor, "B C *X"], reference: Float[Tensor, "G R"], conditions: Conditions) -> Float[Tensor, "G K"]: ...
    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]: ...


@runtime_checkable
class Head(Protocol):
    """A law by construction, in place of decode: potentials or fluxes in, the next state out, in physical units.

    Channels that it does not make come back as the last frame has them.
    """

    def __call__(self, y: Float[Tensor, "B Cy *X"], past: Float[Tensor, "B H C *X"], conditions: Conditions) -> Float[Tensor, "B C *X"]: ...


@runtime_checkable
class Step(Protocol):
    """Physical to physical: a solver, a baseline, a surrogate or a hybrid; all are rolled out, scored and timed alike."""

    @property
    def inputs(self) -> Fields: ...
    @property
    def outputs(self) -> Fields: ...
    @property
    def history(self) -> int: ...
    @property
    def bundle(self) -> int: ...

    def begin(self, past: Float[Tensor, "B H Cin *X"], conditions: Conditions) -> State: ...
    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B T Cout *X"], State]: ...


@runtime_checkable
class Metric(Protocol):
    """Statistics that add over space chunks, members and machines; ratios are taken last, per trajectory."""

    name: str

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Tensor]: ...
    def value(self, statistics: Mapping[str, Tensor]) -> Mapping[str, Tensor]: ...
