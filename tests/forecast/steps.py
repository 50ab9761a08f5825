"""Steps whose forecasts are known, and the initial states they start from."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from surrogates.contracts import Conditions, Noise
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import to_xarray

U = Fields.of(Field("u", units="m s-1"))


class Walk:
    """u <- sin(u) + e / 10: nonlinear, so that one wrong bit shows, and random, so that a wrong draw does."""

    inputs = outputs = U
    history = bundle = 1

    def begin(self, past: Tensor, conditions: Conditions) -> Mapping[str, Tensor]:
        return {"u": past[:, -1], "step": torch.zeros((), dtype=torch.int64)}

    def frame(self, u: Tensor, n: int, conditions: Conditions, noise: Noise | None) -> Tensor:
        return u.sin() if noise is None else u.sin() + noise(u, step=n, draw=0) / 10

    def __call__(
        self, state: Mapping[str, Tensor], conditions: Conditions, noise: Noise | None = None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        frames, u, n = [], state["u"], int(state["step"])
        for j in range(self.bundle):
            u = self.frame(u, n * self.bundle + j, conditions, noise)
            frames.append(u)
        return torch.stack(frames, 1), {"u": u, "step": state["step"] + 1}


class Threes(Walk):
    """The same walk, three frames a call."""

    bundle = 3


class Slow(Walk):
    """The same walk, so slow that there is time to kill it."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds

    def frame(self, u: Tensor, n: int, conditions: Conditions, noise: Noise | None) -> Tensor:
        time.sleep(self.seconds)
        return super().frame(u, n, conditions, noise)


class Draws(Walk):
    """Every frame is the draw itself."""

    def frame(self, u: Tensor, n: int, conditions: Conditions, noise: Noise | None) -> Tensor:
        assert noise is not None
        return noise(u, step=n, draw=0)


class Grows(Walk):
    """u <- growth u, the rate being a parameter of the trajectory."""

    def frame(self, u: Tensor, n: int, conditions: Conditions, noise: Noise | None) -> Tensor:
        return u * conditions.parameter("growth").to(u.dtype)[:, None, None]


class Clock(Walk):
    """Every frame holds the time at which it is due."""

    def frame(self, u: Tensor, n: int, conditions: Conditions, noise: Noise | None) -> Tensor:
        return torch.zeros_like(u) + conditions.after(1).time.to(u)[:, None, None]


class Rotates:
    """z <- z exp(i dt) with a complex state; u is its real part, so that u(t) = u_0 cos t."""

    inputs = outputs = U
    history = bundle = 1

    def begin(self, past: Tensor, conditions: Conditions) -> Mapping[str, Tensor]:
        return {"z": past[:, -1].to(torch.complex128), "step": torch.zeros((), dtype=torch.int64)}

    def __call__(
        self, state: Mapping[str, Tensor], conditions: Conditions, noise: Noise | None = None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        z = state["z"] * torch.exp(1j * conditions.dt)[:, None, None]
        return z.real.float().unsqueeze(1), {"z": z, "step": state["step"] + 1}


class Interrupted:
    """Another step, which raises (or kills its own process) once it has been called `calls` times."""

    step: Any
    left: int
    kill: bool

    def __init__(self, step: Any, calls: int, kill: bool = False) -> None:
        of, names = type(step), ("inputs", "outputs", "history", "bundle")
        mine = {"step": step, "left": calls, "kill": kill, "__qualname__": of.__qualname__, "__module__": of.__module__}
        self.__class__ = type(of.__qualname__, (Interrupted,), mine | {n: getattr(step, n) for n in names})
        self.__dict__.update(vars(step))  # a run knows a step by these

    def begin(self, past: Tensor, conditions: Conditions) -> Mapping[str, Tensor]:
        return self.step.begin(past, conditions)  # type: ignore[no-any-return]

    def __call__(self, *args: Any) -> Any:
        if not self.left:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
        type(self).left -= 1
        return self.step(*args)


def initial(trajectories: int = 3, frames: int = 1, points: int = 8, dt: float = 0.5, **parameters: list[float]) -> xr.Dataset:
    """Smooth states that differ between trajectories, ending at time 2."""
    box = Box.periodic((points,), 2 * torch.pi)
    (x,) = box.grid()
    rows = torch.arange(1, trajectories + 1, dtype=torch.float64)
    u = (x.sin() * rows[:, None] / trajectories + 0.1).float()[:, None, None].expand(-1, frames, -1, -1).clone()
    ids = [10 + i for i in range(trajectories)]
    time = [2 - dt * (frames - 1 - n) for n in range(frames)]
    return to_xarray(u, U, box, time=time, trajectories=ids, parameters=parameters, attrs={"dt": dt})


if __name__ == "__main__":  # a run that kills itself: out, members, frames, chunk, calls until then
    from surrogates import simulate

    out, members, frames, chunk, calls = sys.argv[1], *map(int, sys.argv[2:])
    simulate(Interrupted(Walk(), calls, kill=True), initial(), frames, members=members, out=out, chunk=chunk, group=4)
