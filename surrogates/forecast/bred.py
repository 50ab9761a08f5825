"""Bred vectors and lagged members: perturbations that the step itself has grown.

Breeding. From a random e_0, cycle after cycle,

    e_{j+1} = a d / |d|,     d = S(u_j + e_j) - S(u_j),     u_j the state of the past at which the cycle begins,

turns e towards what grows fastest (for a linear S, the leading eigenvector, at the rate of the ratio of eigenvalues). |.| is the root of
the mean over channels of <d^2>, each in units of its amplitude. The last cycle ends at the present; cycles that would begin before the
frames that the initial state holds begin at its first ones. Source: Toth and Kalnay, "Ensemble forecasting at NCEP and the breeding
method", Mon. Wea. Rev. 125, 1997, https://doi.org/10.1175/1520-0493(1997)125<3297:EFANAT>2.0.CO;2.

Lagged. Member m starts n_m `every` frames earlier and is run up to the present: u_m = S^(n every) u(-n every). `scaled` takes from it a
perturbation of even size, +-(u_m - u)/n_m. Sources: Hoffman and Kalnay, "Lagged average forecasting", Tellus A 35, 1983; Ebisuzaki and
Kalnay, "Ensemble experiments with a new lagged average forecasting scheme", WMO Report 15, 1991.

Both run the step on draws of step numbers below every other, alike for the two states that are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain, Step
from surrogates.fields import Fields
from surrogates.forecast.perturbations import ALL_BUT_THE_FIRST, STEP, Members, Size, white
from surrogates.noise import SeededNoise
from surrogates.record import recorded
from surrogates.rollout import rollout


@recorded
class Bred:
    """`cycles` cycles of `frames` frames of `step`. `amplitude` as in `Gaussian`. Raises ValueError for no cycles or frames."""

    def __init__(
        self,
        step: Step,
        amplitude: float | Mapping[str, float],
        fields: Fields | None = None,
        *,
        cycles: int = 10,
        frames: int = 1,
        members: Members = ALL_BUT_THE_FIRST,
    ) -> None:
        if min(cycles, frames) < 1:
            raise ValueError(f"breeding needs at least one cycle of one frame, got cycles={cycles}, frames={frames}")
        self.step, self.size, self.cycles, self.frames, self.members = step, Size(amplitude, fields), cycles, frames, members

    def __call__(self, past: Float[Tensor, "B H C *X"], conditions: Conditions, noise: SeededNoise) -> Float[Tensor, "B H C *X"]:
        H, domain = self.step.history, conditions.domain
        drawn = self.members.draws(noise)
        size = self.size(past[:, -1], domain)
        e = (white(drawn(past[:, -1], step=STEP, draw=0), domain) * size)[:, None].expand(-1, H, *past.shape[2:])
        for j in range(self.cycles):
            back = min((self.cycles - j) * self.frames, past.shape[1] - H)  # frames before the present
            base = past[:, past.shape[1] - H - back : past.shape[1] - back]
            grown = self._differences(base, e, conditions.after(-back), drawn, j * self.frames)
            e = unit(torch.cat([e, grown], 1)[:, -H:], size, domain)
        whole = torch.cat([torch.zeros_like(past[:, H:]), e], 1)
        sign = self.members.signs(noise, past).reshape(-1, *(1,) * (past.ndim - 1))
        return torch.where(sign == 0, past, past + sign * whole)

    def _differences(self, base: Tensor, e: Tensor, conditions: Conditions, noise: SeededNoise, offset: int) -> Float[Tensor, "B T C *X"]:
        """The frames of a run from base + e less those of one from base, both of the same draws."""
        twice = torch.arange(len(base)).repeat(2)
        both = torch.cat([base, base + e])
        frames = rollout(self.step, both, self.frames, conditions.rows(twice).after, earlier(noise, twice.tolist(), offset))
        control, perturbed = torch.stack(list(frames), 1).chunk(2)
        return perturbed - control


@recorded
class Lagged:
    """Member m from n `every` frames before the present, n = m (the control, member 0, from the present), run by `step`.

    `scaled`: the perturbation (u_m - u)/n instead, which `Members(paired=True)` adds and subtracts. Raises ValueError, saying how many
    frames are needed, where the initial state does not reach back so far.
    """

    def __init__(self, step: Step, every: int = 1, *, scaled: bool = False, members: Members = ALL_BUT_THE_FIRST) -> None:
        if every < 1:
            raise ValueError(f"members lie a whole number of frames apart, at least 1, got every={every}")
        if members.paired and not scaled:
            raise ValueError("a pair of lagged members would be one run twice; write scaled=True, whose differences have a sign")
        self.step, self.every, self.scaled, self.members = step, every, scaled, members

    def __call__(self, past: Float[Tensor, "B H C *X"], conditions: Conditions, noise: SeededNoise) -> Float[Tensor, "B H C *X"]:
        out, H = past.clone(), self.step.history
        lags = torch.tensor([self.members.number(m) for m in noise.members])
        for lag in sorted(set(lags.tolist()) - {0}):
            back = lag * self.every
            if past.shape[1] < H + back:
                raise ValueError(
                    f"members of lag {lag} start {back} frames before the present and the step takes {H}, but the initial state has "
                    f"{past.shape[1]} frames; give it {H + back}, or fewer members"
                )
            rows = (lags == lag).nonzero()[:, 0]
            start = past[rows][:, past.shape[1] - H - back : past.shape[1] - back]
            then = conditions.rows(rows).after(-back)
            run = list(rollout(self.step, start, back, then.after, earlier(noise, rows.tolist())))
            out[rows, -H:] = torch.cat([start, torch.stack(run, 1)], 1)[:, -H:]
        if not self.scaled:
            return out
        sign = self.members.signs(noise, past) / lags.clamp_min(1).to(past)
        return past + sign.reshape(-1, *(1,) * (past.ndim - 1)) * (out - past)


@dataclass(frozen=True)
class Earlier(SeededNoise):
    """Draws for runs before the present: step n of such a run draws at the step number STEP - 1 - offset - n."""

    offset: int = 0

    def __call__(self, like: Tensor, *, step: int, draw: int) -> Tensor:
        return super().__call__(like, step=STEP - 1 - self.offset - step, draw=draw)


def earlier(noise: SeededNoise, rows: list[int], offset: int = 0) -> Earlier:
    """Those of some rows, repeats allowed."""
    return Earlier(noise.seed, [noise.trajectories[i] for i in rows], [noise.members[i] for i in rows], offset)


def unit(e: Float[Tensor, "B H C *X"], size: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "B H C *X"]:
    """e scaled so that its last frame has the mean square amplitude `size`, all channels by one factor; 0 stays 0."""
    u = torch.where(size > 0, e[:, -1] / size, 0.0)
    volume = domain.integral(torch.ones_like(u[:, :1], dtype=torch.float64))
    square = (domain.integral(u.double().square()) / volume).mean(1, keepdim=True)
    factor = torch.where(square > 0, square.rsqrt(), 0.0)
    return e * domain.expand(factor).to(e.dtype)[:, None]
