"""Solvers of u_t = L u + N(u), L diagonal in the modes of a domain, as `Step`s: what periodic boxes and the sphere share.

An equation says its L and N in one method, `terms`, and how fields become modes and modes fields; what time scheme advances them is a
function (`surrogates.pde.etd`). A frame of length dt is made of ceil(dt / max_dt) equal substeps. A scheme of one step needs no start and
keeps nothing but the modes, so that a run does not depend on how often its frames are taken.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import torch
from jaxtyping import Complex, Float, Int64
from torch import Tensor

from surrogates.contracts import Conditions, Noise, State
from surrogates.domains import Box, Sphere
from surrogates.pde.coefficients import Constant, Parameters, fewest
from surrogates.pde.etd import Advance, Nonlinear, Scheme
from surrogates.pde.solver import Solver, check_dt, of_rows

D = TypeVar("D", Box, Sphere)


Map: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Plan:
    """What advances some rows of a batch by one frame; `index` None means all of them. `there` takes their modes to the basis in which
    L is diagonal, `back` from it."""

    index: Tensor | None
    substeps: int
    advance: Advance
    nonlinear: Nonlinear
    there: Map
    back: Map


def same_basis(w: Tensor) -> Tensor:
    return w


class Exponential(Solver, Generic[D]):
    """A truth solver as a `Step`, batched over rows, differentiable, on any device.

    `max_dt` is its longest substep, `dtype` the precision it works and answers in (None: that of the data; make truth in float64).
    Coefficients of the equation are read a row at a time from `conditions.parameter(name)`; those that conditions lack come from the
    constructor.

    State: `spectrum` (B, F, *K) complex, and `step`, the number of calls made.
    """

    def __init__(self, max_dt: float, scheme: Scheme, dtype: torch.dtype | str | None, parameters: Mapping[str, Constant]) -> None:
        super().__init__(max_dt, dtype, parameters)
        self.scheme = scheme
        self._plans: list[tuple[Hashable, Tensor, Tensor, list[Plan]]] = []

    # -- what an equation says ---------------------------------------------------------------------------------

    @abstractmethod
    def grid(self, conditions: Conditions) -> D:
        """The solver's own grid. Raises ValueError for a domain that it cannot work on."""

    @abstractmethod
    def terms(self, box: D, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Nonlinear]:
        """L in double precision, (B | 1, F, *K), and N on spectra of complex `dtype`, for a solver on the grid `box`."""

    def basis(self, box: D, p: Parameters, dtype: torch.dtype, device: torch.device) -> tuple[Map, Map]:
        """To the basis of `terms` and back, where that is not the basis of the state's spectrum."""
        return same_basis, same_basis

    @abstractmethod
    def analysed(self, u: Float[Tensor, "B C *Y"], here: D, box: D) -> Complex[Tensor, "B F *K"]:
        """The state's spectrum, for a solver on `box`, of physical fields on the grid `here`."""

    @abstractmethod
    def synthesised(self, spectrum: Complex[Tensor, "B F *K"], box: D, there: D) -> Float[Tensor, "B C *Y"]:
        """Physical fields on the grid `there` from the state's spectrum on `box`."""

    # -- what makes it a Step ----------------------------------------------------------------------------------

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        """The spectrum of the last frame. Raises ValueError for other channels, another domain or another grid."""
        box = self.grid(conditions)
        domain: D = conditions.domain  # type: ignore[assignment]
        return {"spectrum": self.analysed(self.last(past, domain), domain, box), "step": torch.zeros((), dtype=torch.int64)}

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B 1 C *X"], State]:
        """One frame, `conditions.dt` later; `noise` is for equations that are driven by it."""
        box, w = self.grid(conditions), state["spectrum"]
        for plan in self.plan(conditions, box, w):
            part = self.through(plan, w, int(state["step"]), conditions, noise)
            w = part if plan.index is None else w.index_copy(0, plan.index, part)
        u = self.synthesised(w, box, conditions.domain)  # type: ignore[arg-type]
        return u.unsqueeze(1), {**state, "spectrum": w, "step": state["step"] + 1}

    def through(
        self, plan: Plan, w: Complex[Tensor, "B F *K"], step: int, conditions: Conditions, noise: Noise | None
    ) -> Complex[Tensor, "R F *K"]:
        """The rows of a plan, one frame later."""
        part = plan.there(w if plan.index is None else w[plan.index])
        for _ in range(plan.substeps):
            part = plan.advance(part, plan.nonlinear)
        return plan.back(part)

    def substeps(self, dt: Float[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """How many substeps a frame of length dt takes."""
        return fewest(dt, self.max_dt)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_plans": []}  # functions made here cannot be sent to another process

    # -- coefficients, made once for (parameters, dt, grid) -----------------------------------------------------

    def plan(self, conditions: Conditions, box: D, w: Tensor) -> list[Plan]:
        """The plans for these conditions: remembered, unless gradients flow to the parameters."""
        if conditions.parameters.requires_grad:
            return self.make_plan(conditions, box, w)
        key = (box, w.shape[1:], w.dtype, w.device, conditions.names)
        for known, dt, p, plans in self._plans:
            if known == key and same(dt, conditions.dt) and same(p, conditions.parameters):
                return plans
        with torch.inference_mode(False), torch.no_grad():
            plans = self.make_plan(conditions, box, w)
        kept = (key, conditions.dt.clone(), conditions.parameters.clone(), plans)
        self._plans = [kept, *self._plans[:3]]
        return plans

    def make_plan(self, conditions: Conditions, box: D, w: Tensor) -> list[Plan]:
        """One plan for each number of substeps that rows ask for, so that no row depends on its neighbours."""
        p, dt = self.parameters(conditions), conditions.dt.cpu()
        check_dt(dt)
        counts = self.substeps(dt)
        plans = []
        for n in sorted(set(counts.tolist())):
            index = (counts == n).nonzero().flatten()
            everyone = len(index) == len(counts)
            q = p if everyone else of_rows(p, index)
            q = {name: shared(v) for name, v in q.items()}
            L, N = self.terms(box, q, w.dtype, w.device)
            if L.shape[1:] != w.shape[1:]:
                raise ValueError(
                    f"a state on {tuple(w.shape[1:])} modes was begun with another grid than {box.shape}, whose solver carries "
                    f"{tuple(L.shape[1:])}; begin again, or give the solver a resolution of its own"
                )
            advance = self.scheme(L, shared(dt[index] / n), w.dtype)
            plans.append(Plan(None if everyone else index.to(w.device), n, advance, N, *self.basis(box, q, w.dtype, w.device)))
        return plans


def shared(values: Float[Tensor, " B"]) -> Float[Tensor, " R"]:
    """One value where all rows agree (coefficients are then made and read once), else all of them."""
    return values[:1] if not values.requires_grad and bool((values == values[:1]).all()) else values


def same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)
