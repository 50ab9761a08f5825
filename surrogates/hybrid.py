"""Solver in the loop: a solver makes the step, a surrogate corrects it,

    u* = S(u_t),      u_{t+dt} = C(u*),      C = constraint . (u* + s g(u*) + m)      for a surrogate whose target is a Tendency.

The solver may be coarse in space (`resolution`), in time (`max_dt`), or lack physics; what it gets wrong is what C learns, by the
rollout of both together where the solver is differentiable, as ours are: C then sees the states that its own corrections lead to. All
that a surrogate can be, the correction can be: conditioned on parameters, generative, under a constraint. With `history` h of its
own it sees the h - 1 frames before u* as well. Source: Um, Brand, Fei, Holl and Thuerey, "Solver-in-the-loop: learning from
differentiable physics to interact with iterative PDE-solvers", 2020, https://arxiv.org/abs/2007.00016.

    hybrid = Corrected(KuramotoSivashinsky(48, max_dt=0.2), surrogate)
    hybrid.fit(training_dataset)                      # s and m, of truth less solver
    loss = Unrolled(4)(hybrid, past, future, conditions, noise, step)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Conditions, Domain, Draws, Noise, State, Step
from surrogates.fields import Fields
from surrogates.interchange import TIME, TRAJECTORY, conditions_of, from_xarray
from surrogates.normalise import TRAINING, Moments
from surrogates.record import recorded
from surrogates.surrogate import Surrogate
from surrogates.target import Tendency


@recorded
class Corrected(nn.Module):
    """A `Step` made of a solver (any Step of one frame from one frame) and the surrogate that corrects what it makes.

    The surrogate has the solver's fields, its `dt` is that of a frame, and its newest frame of input is the solver's. Raises ValueError
    where they do not fit, or where the surrogate's target is no `Tendency`, since it would then not start from the solver's frame.
    """

    def __init__(self, solver: Step, surrogate: Surrogate) -> None:
        super().__init__()
        if solver.outputs.channels != surrogate.fields.channels or solver.inputs.channels != surrogate.fields.channels:
            raise ValueError(f"the solver makes {solver.outputs.channels} but the surrogate corrects {surrogate.fields.channels}")
        if solver.bundle != 1 or solver.history != 1 or surrogate.bundle != 1:
            raise ValueError(
                f"solver and correction go one frame at a time, but the solver has history {solver.history} and bundle {solver.bundle} "
                f"and the surrogate bundle {surrogate.bundle}; make all of them 1"
            )
        if not isinstance(surrogate.target, Tendency):
            raise ValueError("a correction is added to the solver's frame: train the surrogate with `target: Tendency`")
        self.solver, self.surrogate = solver, surrogate

    @property
    def inputs(self) -> Fields:
        return self.surrogate.fields

    @property
    def outputs(self) -> Fields:
        return self.surrogate.fields

    @property
    def fields(self) -> Fields:
        return self.surrogate.fields

    @property
    def history(self) -> int:
        return max(1, self.surrogate.history - 1)

    @property
    def bundle(self) -> int:
        return 1

    @property
    def domain(self) -> Domain:
        return self.surrogate.domain

    @property
    def dt(self) -> float:
        return self.surrogate.dt

    @property
    def generative(self) -> bool:
        """Whether members differ."""
        return self.surrogate.generative or bool(getattr(self.solver, "generative", False))

    @property
    def evaluations(self) -> int:
        """Network evaluations a frame; the solver's own come on top."""
        return self.surrogate.evaluations

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        """The surrogate's state: frames, call number, and the budgets of the initial state, which its constraint keeps."""
        return self.surrogate.begin(past, conditions)

    def forward(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B 1 C *X"], State]:
        """One frame. The solver starts from the corrected frame each time."""
        past = state["past"]
        first = self.solved(past[:, -1], conditions, noise, int(state["step"]))
        future, new = self.surrogate({**state, "past": self._seen(past, first)}, conditions, noise)
        return future, {**new, "past": torch.cat([past, future], 1)[:, -self.history :]}

    def loss(
        self,
        past: Float[Tensor, "B H C *X"],
        future: Float[Tensor, "B T C *X"],
        conditions: Conditions,
        noise: Draws,
        guess: nn.Module | None = None,
    ) -> Float[Tensor, " G"]:
        """The surrogate's own loss, from the solver's frame to the true one; strategies of `surrogates.train` take a hybrid as well.

        The budgets of soft laws count from the last frame of `past`, as in a rollout, and not from the solver's, a step later.
        """
        first = self.solved(past[:, -1], conditions, None, 0)
        return self.surrogate.loss(self._seen(past, first), future, conditions, noise, guess, past[:, -1])

    def solved(self, u: Float[Tensor, "B C *X"], conditions: Conditions, noise: Noise | None, step: int) -> Float[Tensor, "B C *X"]:
        """u*: the solver's frame after u. Its draws, where it has any, are those of call `step`."""
        state = dict(self.solver.begin(u[:, None], conditions))
        if "step" in state:
            state["step"] = torch.full_like(state["step"], step)
        future, _ = self.solver(state, conditions, noise)
        return future[:, 0].to(u.dtype)

    def fit(self, training: xr.Dataset) -> None:
        """The surrogate's statistics: of the solver's frames u*, and of what they lack, u - u*. Raises ValueError for another split."""
        if training.attrs.get("split", TRAINING) != TRAINING:
            raise ValueError(f"statistics come from the split 'train' only, not from {training.attrs['split']!r}")
        states, corrections = Moments.none(), Moments.none()
        for first, truth in self._pairs(training):
            states, corrections = states + Moments.of(first), corrections + Moments.of(truth.double() - first.double())
        if not bool((corrections.std > 0).all()) or not bool((states.std > 0).all()):
            raise ValueError(
                f"the corrections have deviations {corrections.std.tolist()} in {self.fields.channels}: a channel that the solver gets "
                "exactly, or that never varies, has nothing to learn"
            )
        n = self.surrogate.normaliser
        for name, value in (("state_mean", states.mean), ("state_std", states.std)):
            getattr(n, name).copy_(value.reshape(n.state_mean.shape))
        for name, value in (("tendency_mean", corrections.mean), ("tendency_std", corrections.std)):
            getattr(n, name).copy_(value.reshape(n.state_mean.shape))

    @torch.no_grad()
    def _pairs(self, training: xr.Dataset) -> Iterable[tuple[Float[Tensor, "T C *X"], Float[Tensor, "T C *X"]]]:
        """The solver's frames and the true ones, a trajectory at a time."""
        for i in range(training.sizes.get(TRAJECTORY, 1)):
            one = training.isel({TRAJECTORY: [i]}) if TRAJECTORY in training.dims else training
            u = from_xarray(one, self.fields)[0]
            start = conditions_of(one.isel({TIME: [0]}))
            rows = start.rows(torch.zeros(len(u) - 1, dtype=torch.int64))
            offsets = torch.arange(len(u) - 1, dtype=torch.float64) * start.dt[0]
            yield self.solved(u[:-1], replace(rows, time=rows.time + offsets), None, 0), u[1:]

    def _seen(self, past: Tensor, first: Tensor) -> Float[Tensor, "B H C *X"]:
        """What the surrogate sees: the frames before, as many as it takes, and the solver's."""
        return torch.cat([past, first[:, None]], 1)[:, -self.surrogate.history :]
