"""Monitors: judges of a forecast by what can be known without the truth, who stop a member, or hand it to another step (`Guarded`).

    residual      rms(u_t - F(u)) > limit rms(u_t)           the frames do not follow the equation (`surrogates.pde.residual`)
    spread        s(t)^2 > limit^2 <sigma^2>                  the members have forgotten what they started from

with the residual of the time step between frames, the deviation s of the members about their mean (with M - 1) and the climate's
deviation sigma. Random states of the climate have s = sigma; at a limit of 1/2 a quarter of the variance has been lost. A monitor
can be wrong in both ways; `surrogates.forecast.trust` measures reliability, a monitor acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surrogates.around import Around
from surrogates.contracts import Conditions, Noise, State, Step
from surrogates.noise import SeededNoise
from surrogates.pde.residual import residuals
from surrogates.pde.spectral import Spectral
from surrogates.record import recorded


@runtime_checkable
class Monitor(Protocol):
    """`reason` is why a member stopped, for the record; `together` says that the members of a trajectory must share a group of rows."""

    reason: str
    together: bool

    def judge(
        self, last: Float[Tensor, "B C *X"], frames: Float[Tensor, "B T C *X"], conditions: Conditions, trajectories: Sequence[int]
    ) -> Bool[Tensor, "B T"]:
        """Which frames are not to be trusted; `last` is the frame before them and `conditions` those at `last`."""
        ...


@recorded
class ResidualMonitor:
    """Stops a member whose frames break the equation of `solver` by more than `limit`, a share of their own change.

    The residual of true frames is not zero (it is that of the trapezoidal rule over dt): measure it with `shares` on the training split and
    set the limit well above. Raises ValueError for a limit that is not positive, and as `residual` does for other fields and domains.
    """

    together = False

    def __init__(self, solver: Spectral, limit: float) -> None:
        if not limit > 0:
            raise ValueError(f"limit must be positive, got {limit}; take a few times the largest of `shares` on true frames")
        self.solver, self.limit = solver, limit
        self.reason = f"residual beyond {limit:g} of the change"

    def judge(
        self, last: Float[Tensor, "B C *X"], frames: Float[Tensor, "B T C *X"], conditions: Conditions, trajectories: Sequence[int] = ()
    ) -> Bool[Tensor, "B T"]:
        return ~(self.shares(last, frames, conditions) <= self.limit)  # what is not a number is not trusted either

    def shares(self, last: Float[Tensor, "B C *X"], frames: Float[Tensor, "B T C *X"], conditions: Conditions) -> Float[Tensor, "B T"]:
        """rms(r) / rms(change per unit of time), all channels together in units of each one's change, float64."""
        r = residuals(self.solver, last, frames, conditions).double()
        change = torch.cat([last[:, None], frames], 1).double().diff(dim=1)
        rate = change / conditions.dt.to(change.device).reshape(-1, *(1,) * (change.ndim - 1))
        size = rate.flatten(3).square().mean(3)
        return (r.flatten(3).square().mean(3) / size).mean(2).sqrt()


@recorded
class SpreadMonitor:
    """Stops all members of a trajectory whose spread exceeds `limit` times the climate's deviation `climate`, one a channel.

    It needs two members or more, all in one group of rows. A frame that is not finite is not trusted, and left out of the spread of the
    others; a last member left alone goes on. Raises ValueError for numbers that are not positive and for a lonely member.
    """

    together = True

    def __init__(self, climate: Sequence[float], limit: float = 0.5) -> None:
        if not limit > 0 or min(climate, default=0.0) <= 0:
            raise ValueError(f"limit and the climate's deviations must be positive, got {limit} and {list(climate)}")
        self.climate, self.limit = tuple(climate), limit
        self.reason = f"spread beyond {limit:g} of the climate's"

    def judge(
        self, last: Float[Tensor, "B C *X"], frames: Float[Tensor, "B T C *X"], conditions: Conditions, trajectories: Sequence[int]
    ) -> Bool[Tensor, "B T"]:
        if frames.shape[2] != len(self.climate):
            raise ValueError(f"the climate has {len(self.climate)} channels but the frames {frames.shape[2]}; give one deviation a channel")
        sigma = frames.new_tensor(self.climate, dtype=torch.float64).reshape(-1, *(1,) * (frames.ndim - 3))
        z, bad = frames.double() / sigma, torch.zeros(frames.shape[:2], dtype=torch.bool, device=frames.device)
        for trajectory in dict.fromkeys(trajectories):
            rows = torch.tensor([b for b, t in enumerate(trajectories) if t == trajectory], device=frames.device)
            if len(rows) < 2:
                raise ValueError(f"trajectory {trajectory} has one member in this group; a spread needs two or more, together")
            sound = z[rows].isfinite().flatten(2).all(2)  # (M, T)
            here = sound.reshape(*sound.shape, *(1,) * (z.ndim - 2))
            count = here.sum(0)
            mean = torch.where(here, z[rows], 0.0).sum(0) / count
            square = torch.where(here, z[rows] - mean, 0.0).square().sum(0) / (count - 1).clamp_min(1)
            bad[rows] = ~(sound & (square.flatten(1).mean(1).sqrt() <= self.limit))
        return bad


@recorded
class Guarded(Around, nn.Module):
    """`step`, but from the first bundle of a row that the monitor does not trust on, `fallback` makes that row's frames.

    The bundle itself is made again by the fallback from the frame before it, so that no frame comes out that was not trusted. The
    state tells under `handed` which call handed a row over (-1: none). The fallback makes as many frames a call, and restarts from
    frames each time. Raises ValueError where the two do not fit, and TypeError for a spread monitor without `SeededNoise`.
    """

    def __init__(self, step: Step, monitor: Monitor, fallback: Step) -> None:
        super().__init__()
        if fallback.outputs.channels != step.outputs.channels or step.bundle % fallback.bundle or fallback.history > step.history:
            raise ValueError(
                f"the fallback makes {fallback.bundle} frames of {fallback.outputs.channels} from {fallback.history} but the step makes "
                f"{step.bundle} of {step.outputs.channels} from {step.history}; they must fit each other"
            )
        self.step, self.monitor, self.fallback = step, monitor, fallback

    @property
    def within(self) -> Step:
        return self.step

    @property
    def generative(self) -> bool:
        """Whether members differ."""
        return bool(getattr(self.step, "generative", False))

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        handed = torch.full((len(past),), -1, dtype=torch.int64, device=past.device)
        inner = {f"step.{k}": v for k, v in self.step.begin(past, conditions).items()}
        return {**inner, "frames": past, "handed": handed, "calls": torch.zeros((), dtype=torch.int64)}

    def forward(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B T C *X"], State]:
        """One bundle. A row that was handed over is still stepped, so that its neighbours' bits stay, and its frames are replaced."""
        past, calls = state["frames"], state["calls"]
        inner = {k.removeprefix("step."): v for k, v in state.items() if k.startswith("step.")}
        future, new = self.step(inner, conditions, noise)
        bad = self._judge(past[:, -1], future.masked_fill(_rows_of(state["handed"] >= 0, future), torch.nan), conditions, noise)
        handed = torch.where((state["handed"] < 0) & bad, calls.to(past.device), state["handed"])
        if bool((handed >= 0).any()):
            made = self._fallen_back(past, conditions, noise, int(calls))
            future = torch.where(_rows_of(handed >= 0, future), made, future)
        frames = torch.cat([past, future], 1)[:, -self.history :]
        return future, {**{f"step.{k}": v for k, v in new.items()}, "frames": frames, "handed": handed, "calls": calls + 1}

    def _fallen_back(self, past: Tensor, conditions: Conditions, noise: Noise | None, calls: int) -> Float[Tensor, "B T C *X"]:
        times = self.step.bundle // self.fallback.bundle
        state = dict(self.fallback.begin(past[:, -self.fallback.history :], conditions))
        if "step" in state:
            state["step"] = state["step"] + calls * times
        out: list[Tensor] = []
        for n in range(times):
            made, state = self.fallback(state, conditions.after(n * self.fallback.bundle), noise)  # type: ignore[assignment]
            out.append(made)
        return torch.cat(out, 1)

    def _judge(self, last: Tensor, future: Tensor, conditions: Conditions, noise: Noise | None) -> Bool[Tensor, " B"]:
        """The rows that are not trusted. Rows that repeat a member (a group is padded with such) do not count twice in a spread."""
        if not self.monitor.together:
            return self.monitor.judge(last, future, conditions, ()).any(1)
        seeded = getattr(noise, "noise", noise)  # that of a run which goes on is wrapped
        if not isinstance(seeded, SeededNoise):
            raise TypeError(
                f"{type(self.monitor).__name__} compares members, which only SeededNoise tells; simulate(members=...) passes it"
            )
        keys = list(zip(seeded.trajectories, seeded.members, strict=True))
        first = {key: n for n, key in reversed(list(enumerate(keys)))}
        rows = torch.tensor(sorted(first.values()))
        bad = torch.zeros(len(future), dtype=torch.bool, device=future.device)
        ids = [seeded.trajectories[n] for n in rows.tolist()]
        bad[rows] = self.monitor.judge(last[rows], future[rows], conditions.rows(rows), ids).any(1)
        return bad[torch.tensor([first[key] for key in keys])]


def _rows_of(which: Bool[Tensor, " B"], like: Tensor) -> Tensor:
    """One flag a row, shaped to spread over `like`."""
    return which.reshape(-1, *(1,) * (like.ndim - 1))
