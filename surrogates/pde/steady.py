"""Steady diffusion as a step: from the coefficient k, a static field, to the solution of -div(k grad u) = f with u = 0 on the walls.

A map without time takes one step from t = 0, a first guess, to t = 1, the solution; further steps stay there. The guess is the solution for
the geometric mean of k, the effective coefficient of a plane medium whose log is symmetric about its mean. So windows, training and scores
of evolutions serve for maps as well, and a network has to find what the structure of k changes.

k is constant in each cell of the stored grid, and a finer solver sees the same k: what is stored says all about the problem, and the truth
is its solution, not that of another. Solved by `surrogates.pde.elliptic`.

Source of the mean: Dykhne, Sov. Phys. JETP 32 (1971) 63.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Noise, State
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC
from surrogates.fields import Field, Fields
from surrogates.pde import elliptic
from surrogates.pde.cells import resampled
from surrogates.pde.coefficients import Constant
from surrogates.pde.initial import scalar
from surrogates.pde.solver import Solver

COEFFICIENT, SOURCE = Field("coefficient", long_name="diffusion coefficient"), Field("source", long_name="source")


class Steady(Solver):
    """u, (B, 1, *X), at the middles of the cells of a Box with walls on all sides; `conditions.static` holds `static_fields`.

    `resolution` is the solver's cells, multiples of the data's (None: as many). State: `static` (B, Cs, *cells), `solution` (B, 1, *cells)
    and `step`. Answers in `dtype`; solved in float64. Not differentiable.
    """

    fields = Fields.of(Field("u"))
    static_fields: ClassVar[Fields] = Fields.of(COEFFICIENT)

    def __init__(
        self, resolution: int | Sequence[int] | None, max_dt: float, dtype: torch.dtype | str | None, constants: Mapping[str, Constant]
    ) -> None:
        super().__init__(max_dt, dtype, constants)
        self.resolution = (resolution,) * 2 if isinstance(resolution, int) else None if resolution is None else tuple(resolution)

    @abstractmethod
    def draw_static(self, domain: Box, trajectories: Sequence[int], seed: int, *, conditions: Conditions) -> Float[Tensor, "B Cs *X"]:
        """Random coefficients on the cells of the stored grid, float64, the same for a trajectory in any batch."""

    def box(self, domain: object) -> Box:
        """The solver's cells. Raises ValueError for a domain that is no Box between walls in equal cells."""
        name = type(self).__name__
        if not isinstance(domain, Box) or PERIODIC in domain.boundary or any(domain.edges):
            raise ValueError(f"{name} needs a Box between walls in equal cells, got {domain}; write domain: {{lengths: .., walls: [x, y]}}")
        if self.resolution is not None and len(self.resolution) != domain.dim:
            raise ValueError(f"resolution {self.resolution} needs {domain.dim} entries")
        return domain if self.resolution is None else domain.with_shape(self.resolution)

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        """The problem on the solver's cells, solved. Raises ValueError without the static fields."""
        box, domain, static = self.box(conditions.domain), conditions.domain, conditions.static
        if static is None or static.shape[1] != self.static_fields.count:
            raise ValueError(f"{type(self).__name__} needs the static fields {self.static_fields.channels} in conditions.static")
        assert isinstance(domain, Box)
        static = self.spread_static(static.double(), domain, box)
        solution = elliptic.solve(static[:, :1], self.source(static), box).to(self.dtype or past.dtype)
        return {"static": static, "solution": solution, "step": torch.zeros((), dtype=torch.int64)}

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B 1 1 *X"], State]:
        """The solution, whatever `conditions.dt`."""
        assert isinstance(conditions.domain, Box)
        out = resampled(state["solution"], self.box(conditions.domain), conditions.domain)
        return out[:, None], {**state, "step": state["step"] + 1}

    def source(self, static: Float[Tensor, "B Cs *X"]) -> Float[Tensor, "B 1 *X"]:
        """f: 1, or the second static field."""
        return static[:, 1:2] if static.shape[1] > 1 else torch.ones_like(static)

    def initial(
        self, domain: Box, trajectories: Sequence[int], seed: int, *, conditions: Conditions | None = None
    ) -> Float[Tensor, "B 1 *X"]:
        """The first guess for the coefficients in `conditions.static`, float64. Raises ValueError without them."""
        if conditions is None or conditions.static is None:
            raise ValueError("the first guess follows from the coefficient: pass conditions with static fields")
        static = conditions.static.double()
        mean = static[:, :1].log().flatten(1).mean(1).exp().reshape(-1, 1, *(1,) * domain.dim)
        return elliptic.solve(mean.expand_as(static[:, :1]), self.source(static), domain)

    def resample(self, u: Float[Tensor, "B C *Y"], here: Box, there: Box) -> Float[Tensor, "B C *Z"]:
        """Averages over the cells of another grid of the same box."""
        return resampled(u, here, there)

    def spread_static(self, static: Float[Tensor, "B Cs *Y"], here: Box, there: Box) -> Float[Tensor, "B Cs *Z"]:
        """The same coefficients on finer cells. Raises ValueError where these are no multiple."""
        for axis, (n, m) in enumerate(zip(here.shape, there.shape, strict=True)):
            if m % n:
                raise ValueError(f"{m} cells of the solver are no multiple of the {n} on which coefficients are constant; choose one")
            static = static.repeat_interleave(m // n, 2 + axis)
        return static


def gaussian(domain: Box, trajectories: Sequence[int], seed: int, waves: float | int) -> Float[Tensor, "B 1 *X"]:
    """Smooth random fields, `waves` of them along the shortest side: part of a periodic field in a box of twice the size, so that
    opposite sides know nothing of each other."""
    twice = Box.periodic([2 * n for n in domain.shape], [2 * length for length in domain.lengths])
    field = scalar(twice, trajectories, seed, peak=2 * waves, rms=1.0)
    for axis, n in enumerate(domain.shape):
        field = field.narrow(2 + axis, 0, n)
    return field
