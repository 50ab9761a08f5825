"""One-way nesting: a limited area inside a larger and coarser model, which gives it its lateral boundaries and hears nothing back.

    boundary(t) = P ( (1 - w) U(t_i) + w U(t_{i+1}) ),     w = (t - t_i) / (t_{i+1} - t_i),

U the frames of the outer model and P their interpolation in space to the points of the inner domain: along each axis the polynomial
through the `order` outer points around a point, so of that order in the outer spacing. What the inner step does with boundary(t) is its
own, or that of a constraint after it (`constraints.BoundaryValues`, `LateralBoundaries`). `Nested` takes a stored forecast; `OneWay`
runs the outer step along. Source: Davies, "Lateral boundary conditions", QJRMS 140, 2014, https://doi.org/10.1002/qj.2127.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from surrogates.around import Around
from surrogates.contracts import Conditions, Noise, State, Step
from surrogates.data.series import Series, opened
from surrogates.domains import Box
from surrogates.domains.box import PERIODIC
from surrogates.fields import Fields
from surrogates.interchange import MEMBER, domain_of
from surrogates.record import recorded


class Interpolation:
    """From fields on `outer` to fields at the points of `inner`. Raises ValueError where these lie outside the outer points."""

    def __init__(self, outer: Box, inner: Box, order: int = 4) -> None:
        if outer.dim != inner.dim:
            raise ValueError(f"the outer box has {outer.dim} axes but the inner one {inner.dim}")
        if order < 2 or order % 2 or order > min(outer.shape):
            raise ValueError(f"order is {order} but must be even and at most the outer points along an axis, {min(outer.shape)}")
        self.outer, self.inner = outer, inner
        self.matrices = [_matrix(outer, axis, inner.coordinate(axis), order) for axis in range(outer.dim)]

    def __call__(self, u: Float[Tensor, "B C *X"]) -> Float[Tensor, "B C *Y"]:
        self.outer.check(u)
        for axis, matrix in enumerate(self.matrices):
            u = torch.tensordot(u, matrix.to(u), ([2 + axis], [1])).movedim(-1, 2 + axis)
        return u


def _matrix(outer: Box, axis: int, points: Float[Tensor, " n"], order: int) -> Float[Tensor, "n m"]:
    """Lagrange's weights of the `order` outer points around each point; at a wall those nearest to it."""
    x, n, length = outer.coordinate(axis), outer.shape[axis], outer.lengths[axis]
    periodic = outer.boundary[axis] == PERIODIC
    if periodic:
        x = torch.cat([x - length, x, x + length])
        points = outer.lower[axis] + (points - outer.lower[axis]) % length
    slack = 1e-9 * length
    if bool(((points < x[0] - slack) | (points > x[-1] + slack)).any()):
        raise ValueError(
            f"the inner points along {outer.axes[axis]} reach from {float(points.min()):g} to {float(points.max()):g}, beyond the outer "
            f"points from {float(x[0]):g} to {float(x[-1]):g}; make the inner area smaller"
        )
    first = (torch.searchsorted(x, points.contiguous(), right=True) - order // 2).clamp(0, len(x) - order)
    matrix = torch.zeros(len(points), len(x), dtype=torch.float64)
    for row, (p, start) in enumerate(zip(points.tolist(), first.tolist(), strict=True)):
        near = x[start : start + order]
        for j in range(order):
            others = torch.cat([near[:j], near[j + 1 :]])
            matrix[row, start + j] = ((p - others) / (near[j] - others)).prod()
    return matrix.reshape(len(points), 3, n).sum(1) if periodic else matrix


class Nested:
    """boundary(t) from a stored forecast: a function of time for `Given(boundary=...)`, of the trajectories of the rows.

    `source` is a Dataset, or the folder or file of one, of `fields` on a Box; `inner` is the domain of the inner step. Raises ValueError
    for members (select one), for a source on another domain, and, when called, beyond its times.
    """

    def __init__(self, source: str | os.PathLike[str] | xr.Dataset, fields: Fields, inner: Box, *, order: int = 4) -> None:
        dataset = opened(source)
        if MEMBER in dataset.dims:
            raise ValueError("the outer forecast has members; nest in one of them: source.isel(member=0)")
        outer = domain_of(dataset)
        if not isinstance(outer, Box):
            raise ValueError(f"nesting interpolates between boxes, the outer forecast lies on {outer}")
        levels = [f.name for f in fields if f.levels]
        if levels:
            raise ValueError(f"fields on levels are not nested yet: {levels}; give each level a field of its own")
        self.series = Series(source, [v for f in fields for v in f.variables])
        self.interpolation = Interpolation(outer, inner, order)
        self.arguments = {**self.series.arguments, "inner": inner.to_json(), "order": order}

    def counted(self, about: Mapping[str, str]) -> Nested:
        """The same with dates counted as `about` says, the CF units and calendar of the inner forecast."""
        out = self._with(self.series.counted(about))
        out.arguments = {**self.arguments, **out.series.arguments}
        return out

    def of(self, trajectories: Sequence[int]) -> Nested:
        """That of rows of these trajectories. Raises ValueError for one that the source lacks."""
        return self._with(self.series.of(trajectories))

    def at_rows(self, index: Tensor) -> Nested:
        return self._with(self.series.at_rows(index))

    def __call__(self, t: Float[Tensor, " G"]) -> Float[Tensor, "G C *X"]:
        return self.interpolation(self.series(t))

    def _with(self, series: Series) -> Nested:
        out = Nested.__new__(Nested)
        out.__dict__.update({**self.__dict__, "series": series})
        return out


@recorded
class OneWay(Around):
    """A `Step`: `inner` inside `outer`, which is run along, `ratio` inner frames to one outer frame.

    `past` is the outer initial state, one for all rows, on `domain`. The state carries both models, so a run that is resumed goes on
    exactly. Raises ValueError where the fields differ, where an outer frame is no whole number of inner bundles, and for more rows.
    """

    def __init__(self, outer: Step, inner: Step, past: Any, domain: Box, inside: Box, *, ratio: int = 1, order: int = 4) -> None:
        past = past if isinstance(past, Tensor) else torch.tensor(past)
        if outer.outputs.channels != inner.inputs.channels:
            raise ValueError(f"the outer step makes {outer.outputs.channels} but the inner one takes {inner.inputs.channels}")
        if outer.bundle != 1 or ratio < 1 or ratio % inner.bundle:
            raise ValueError(
                f"an outer frame holds {ratio} inner ones in bundles of {inner.bundle}, which must divide; the outer bundle, "
                f"{outer.bundle}, must be 1"
            )
        if len(past) != 1:
            raise ValueError(f"there is one outer run for all rows, but past has {len(past)}; store a forecast of several and take Nested")
        self.outer, self.inner, self.past, self.domain, self.ratio = outer, inner, past, domain, ratio
        self.interpolation = Interpolation(domain, inside, order)

    @property
    def within(self) -> Step:
        return self.inner

    @property
    def generative(self) -> bool:
        """Whether members differ: the outer run is the same for all."""
        return bool(getattr(self.inner, "generative", False))

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        start = self.past.to(past.device, past.dtype)
        outside = self._outside(conditions)
        state: dict[str, Tensor] = {f"outer.{k}": v for k, v in self.outer.begin(start, outside).items()}
        known = self._known(start[0, -1:].repeat(2, *(1,) * (start.ndim - 2)), conditions.time[:1])
        begun = self.inner.begin(past, replace(conditions, boundary=known))
        state |= {f"inner.{k}": v for k, v in begun.items()}
        return {**state, "frames": start[:, -1:].repeat(1, 2, *(1,) * (start.ndim - 2)), "made": torch.zeros((), dtype=torch.int64)}

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B T C *X"], State]:
        """One inner bundle, after the outer frame that it ends in."""
        made, frames = int(state["made"]), state["frames"]
        phase, new = made % self.ratio, dict(state)
        if phase == 0:
            outer = {k.removeprefix("outer."): v for k, v in state.items() if k.startswith("outer.")}
            ahead, outer_new = self.outer(outer, self._outside(conditions), None)
            frames = torch.cat([frames[:, 1:], ahead.to(frames.dtype)], 1)
            new |= {f"outer.{k}": v for k, v in outer_new.items()}
        since = conditions.time[:1] - phase * conditions.dt[:1]
        inner = {k.removeprefix("inner."): v for k, v in state.items() if k.startswith("inner.")}
        known = self._known(frames[0], since, conditions.dt[:1] * self.ratio)
        future, inner_new = self.inner(inner, replace(conditions, boundary=known), noise)
        new |= {f"inner.{k}": v for k, v in inner_new.items()}
        return future, {**new, "frames": frames, "made": state["made"] + future.shape[1]}

    def _outside(self, conditions: Conditions) -> Conditions:
        """The conditions of the outer step: one row, its own domain, its longer dt."""
        one = replace(conditions.rows(torch.tensor([0])), domain=self.domain, static=None)
        return replace(one, dt=one.dt * self.ratio)

    def _known(self, frames: Float[Tensor, "2 C *X"], since: Tensor, step: Tensor | None = None) -> Between:
        return Between(self.interpolation(frames), since, torch.ones_like(since) if step is None else step)


class Between:
    """A function of time: linear from frames[0], at `since`, to frames[1], `step` later; the same for all rows."""

    def __init__(self, frames: Float[Tensor, "2 C *X"], since: Float[Tensor, " 1"], step: Float[Tensor, " 1"]) -> None:
        self.frames, self.since, self.step = frames, since, step

    def __call__(self, t: Float[Tensor, " G"]) -> Float[Tensor, "G C *X"]:
        w = ((t - self.since) / self.step).to(self.frames).reshape(-1, *(1,) * (self.frames.ndim - 1))
        return self.frames[:1] + w * (self.frames[1:] - self.frames[:1])
