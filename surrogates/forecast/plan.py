"""All that a forecast is made from, checked once; and in which portions it is made.

Rows (trajectory, member) run in groups of one fixed size, the last one padded with repeats: noise is keyed by trajectory and member, so
grouping never changes what is drawn, and at the recorded group size the result is the same bit for bit. Frames are judged and thinned in
portions of `piece`, about a chunk, and stored in chunks of `chunk`, the fewest whole pieces that hold so many frames that are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import ceil, lcm
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Conditions, Noise, State, Step
from surrogates.domains.layout import AnyDomain
from surrogates.fields import Fields
from surrogates.forecast.blowup import Limits
from surrogates.forecast.keep import Keep
from surrogates.forecast.monitor import Monitor
from surrogates.forecast.perturbations import Perturbation
from surrogates.forecast.selection import Selection
from surrogates.forecast.surroundings import Surroundings
from surrogates.identity import identity, known, unknown
from surrogates.noise import SeededNoise
from surrogates.record import describe
from surrogates.rollout import begin

BEFORE = "frames_before"
"""Attribute of an initial state: the frames that the rollout which it continues has made."""


@dataclass(frozen=True)
class Later:
    """`Noise` of a rollout that goes on after `steps` frames of an earlier one: no draw is made twice, be it frames or calls that count."""

    noise: Noise
    steps: int

    def __call__(self, like: Tensor, *, step: int, draw: int) -> Tensor:
        return self.noise(like, step=step + self.steps, draw=draw)


@dataclass(frozen=True, eq=False)
class Plan:
    """B trajectories of `members` members each (None: one, without such a dim); `past` has M = 1 where members begin alike."""

    step: Step
    past: Float[Tensor, "B M H C *X"]
    conditions: Conditions
    trajectories: Sequence[int]
    failed: dict[str, Tensor]
    members: int | None
    frames: int
    seed: int
    group: int
    length: int
    before: int = 0
    deterministic: bool = False
    perturb: Perturbation | None = None
    limits: Limits = field(default_factory=Limits)
    surroundings: Surroundings | None = None
    monitor: Monitor | None = None
    keep: Keep = field(default_factory=Keep)

    @property
    def domain(self) -> AnyDomain:
        found: Any = self.conditions.domain
        return found  # type: ignore[no-any-return]

    @property
    def count(self) -> int:
        return len(self.trajectories) * (self.members or 1)

    @property
    def groups(self) -> int:
        return ceil(self.count / self.group)

    def rows(self, group: int) -> list[int]:
        """Row numbers of a group, trajectory-major, without the padding."""
        return list(range(group * self.group, min((group + 1) * self.group, self.count)))

    # -- portions ----------------------------------------------------------------------------------------------

    @property
    def piece(self) -> int:
        """Frames that are judged and thinned together: whole bundles."""
        return self.step.bundle * ceil(self.length / self.step.bundle)

    @property
    def span(self) -> int:
        """Frames of one chunk of the file before thinning: whole pieces, a multiple of `every`."""
        unit = lcm(self.piece, self.keep.every)
        return unit * ceil(self.length * self.keep.every / unit)

    @property
    def chunk(self) -> int:
        """Frames in one chunk of the file."""
        return self.span // self.keep.every

    @cached_property
    def selection(self) -> Selection:
        return Selection(self.keep, self.step.outputs, self.domain)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the codes of a failure mean."""
        return (*self.limits.reasons, *(() if self.monitor is None else (self.monitor.reason,)))

    # -- one group ---------------------------------------------------------------------------------------------

    def begin(
        self, rows: Sequence[int], device: torch.device
    ) -> tuple[Float[Tensor, "B H C *X"], Callable[[int], Conditions], Noise | None, list[int]]:
        """Of these rows: the past, the conditions after n frames, the noise, and their trajectories."""
        which, member = self._which(rows)
        at, noise = self._surrounded(rows, device)
        past = self.past[which, member.clamp(max=self.past.shape[1] - 1)].to(device)
        if self.perturb is not None:
            past = self.perturb(past, at(0), noise)
        draws: Noise = Later(noise, self.before) if self.before else noise
        return past[:, -self.step.history :], at, None if self.deterministic else draws, list(noise.trajectories)

    def _which(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The numbers of the trajectories and of the members of these rows."""
        count = self.members or 1
        return torch.tensor(rows) // count, torch.tensor(rows) % count

    def _surrounded(self, rows: Sequence[int], device: torch.device) -> tuple[Callable[[int], Conditions], SeededNoise]:
        """Of these rows: the conditions after n frames, and the noise."""
        which, member = self._which(rows)
        noise = SeededNoise(self.seed, [self.trajectories[i] for i in which.tolist()], member.tolist())
        conditions = self.conditions.rows(which).to(device)
        if self.surroundings is None:
            return conditions.after, noise
        return partial(self.surroundings.at, self.surroundings.begin(conditions, noise)), noise

    def first(self, rows: Sequence[int], device: torch.device) -> State:
        """The state that these rows start from. Raises ValueError for conditions that the step was not made for."""
        past, at, _, _ = self.begin(rows, device)
        return begin(self.step, past, at(0))

    def times(self) -> list[float]:
        """When each frame is due, of the first trajectory."""
        now, dt, bundle = float(self.conditions.time[0]), float(self.conditions.dt[0]), self.step.bundle
        if self.surroundings is None:
            return [now + dt * n for n in range(1, self.frames + 1)]
        at, _ = self._surrounded([0], torch.device("cpu"))
        times: list[float] = []
        for n in range(0, self.frames, bundle):
            c = at(n)
            times += [float(c.time[0]) + float(c.dt[0]) * j for j in range(1, bundle + 1)]
        return times[: self.frames]

    def fingerprint(self) -> dict[str, Any]:
        """What makes this run the same run. Raises ValueError for parts that nothing tells from others like them."""
        conditions = self.conditions
        digest = hashlib.sha256(self.past.contiguous().numpy().tobytes())
        digest.update(b"".join(v.numpy().tobytes() for v in (conditions.parameters, conditions.time, conditions.dt)))
        digest.update(json.dumps([describe(conditions.domain), conditions.names]).encode())
        if conditions.static is not None:
            digest.update(conditions.static.contiguous().numpy().tobytes())
        parts = {"perturb": self.perturb, "surroundings": self.surroundings, "monitor": self.monitor}
        of = {k: known(v) for k, v in parts.items() if v is not None}
        if lost := {k: names for k, v in of.items() if (names := unknown(v))}:
            raise ValueError(
                f"a stored run must know what it is made from, but nothing tells these objects from others like them: {lost}; give "
                "numbers, tensors, arrays, functions of those, or an object with a dictionary `arguments`, or forecast without out"
            )
        return {
            **{k: _short(v) for k, v in identity(self.step).items()},
            "initial state": digest.hexdigest()[:16],
            "trajectories": list(self.trajectories),
            "members": self.members,
            "frames": self.frames,
            "seed": self.seed,
            "deterministic": self.deterministic,
            "group": self.group,
            "chunk": self.length,
            "limits": known(self.limits),
            "keep": known(self.keep),
            **{k: _short(v) for k, v in of.items()},
        }


def device_of(step: Step) -> torch.device:
    """Where a step's weights are; the CPU for one without."""
    weights = step.parameters() if isinstance(step, nn.Module) else iter(())
    return next((p.device for p in weights), torch.device("cpu"))


def shared(plan: Plan) -> tuple[list[int], list[int], Fields]:
    """The channels of the output that are inputs too: where in the input, where in the output, and the fields they are."""
    both = Fields(tuple(f for f in plan.step.outputs if f in plan.step.inputs.entries))
    there, here = ([i for f in both for i in range(*of.slice(f.name).indices(of.count))] for of in (plan.step.inputs, plan.step.outputs))
    return there, here, both


def _short(value: Any) -> Any:
    """A mesh among a step's arguments is long: known by a hash."""
    text = json.dumps(value)
    return value if len(text) < 8192 else hashlib.sha256(text.encode()).hexdigest()[:16]
