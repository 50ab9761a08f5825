"""Inference-time scaling: more samples of a step, chosen by evidence (`evidence`), behind the contract of a Step.

    BestOf       N candidates a row, and the one of greatest likelihood goes on
    Particles    M members a trajectory carry weights w_m ~ prod_t p(evidence_t | frame_t); where few carry them all, the effective size
                 1/sum w_m^2 falls below `threshold` M and members are drawn again in proportion to w (the bootstrap filter)

Particles are a sample of p(frames | evidence) as M grows, with an unbiased estimate of p(evidence) for any M. The best of N is none: it
approaches the most likely frame under the evidence among those that the step can make, and its spread says nothing; best of 1 is the plain
step, bit for bit. Systematic resampling takes the members where (U + i)/M, i < M, fall among the sums of w, with one uniform U: member m
gets floor or ceil of M w_m offspring, M w_m on average.

Rows are trajectory-major, (trajectory, member): rows k M, ..., k M + M - 1 are one trajectory's, as `simulate` orders them (choose
`group` a multiple of M). What a step costs is `evaluations`: N times the inner step's, or just that, members being rows.

Sources: Gordon, Salmond and Smith, IEE Proceedings F 140 (1993) 107; Kitagawa, J. Comput. Graph. Stat. 5 (1996) 1 (systematic); Del
Moral, Feynman-Kac Formulae, 2004, section 7.4 (the unbiased evidence); for diffusion models: Singhal et al., "A general framework for
inference-time scaling and steering of diffusion models", 2025, https://arxiv.org/abs/2501.06848.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surrogates.around import Around
from surrogates.contracts import Conditions, Noise, State, Step
from surrogates.noise import AtStep, uniform
from surrogates.refine.evidence import Evidence, log_likelihood

RESAMPLING_DRAW = 1 << 21
"""Far from the draws of any refiner and of the training's pushes."""
CANDIDATE_STRIDE = 1 << 24
"""Candidate j draws with numbers j * CANDIDATE_STRIDE further on."""
LAST, WEIGHT, EVIDENCE, CALLS = "weighed_last", "log_weight", "log_evidence", "weighed_calls"


class _Weighed(Around, nn.Module):
    """A step around a step; its state is the inner one's and a few tensors more."""

    def __init__(self, step: Step, evidence: Evidence) -> None:
        super().__init__()
        self.step, self.evidence = step, evidence

    @property
    def within(self) -> Step:
        return self.step

    @property
    def generative(self) -> bool:
        """Members differ."""
        return True

    def _last(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> Float[Tensor, "B C *X"]:
        if conditions.domain.members != 1:
            raise ValueError(f"one row holds {conditions.domain.members} meshes here, which are weighed one by one; give one mesh a row")
        if self.step.inputs != self.step.outputs:
            raise ValueError(
                f"evidence links frame to frame, but the step maps {self.step.inputs.channels} to {self.step.outputs.channels}"
            )
        return past[:, -1]


class BestOf(_Weighed):
    """The likeliest of `candidates` samples, frame bundle by frame bundle. Raises ValueError for candidates < 1, and without noise."""

    def __init__(self, step: Step, evidence: Evidence, candidates: int) -> None:
        super().__init__(step, evidence)
        if candidates < 1:
            raise ValueError(f"candidates is {candidates} but one has to be chosen; 1 is the plain step")
        self.candidates = candidates

    @property
    def evaluations(self) -> int:
        """Network evaluations a call and row."""
        return self.candidates * int(getattr(self.step, "evaluations", 1))

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        return {**self.step.begin(past, conditions), LAST: self._last(past, conditions)}

    def forward(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B T C *X"], State]:
        inner = {k: v for k, v in state.items() if k != LAST}
        last, n = state[LAST], self.candidates
        if noise is None:
            raise ValueError("candidates differ by their noise; pass noise (simulate does, from its seed)")
        rows = torch.arange(len(last)).repeat_interleave(n)
        wide = conditions.rows(rows)
        future, new = self.step(_pick(inner, rows, len(last)), wide, Candidates(noise, n))
        score = log_likelihood(self.evidence, last[rows.to(last.device)], future, wide).reshape(-1, n)
        best = score.argmax(1) + n * torch.arange(len(last), device=score.device)
        chosen = future[best]
        return chosen, {**_pick(new, best, len(rows)), LAST: chosen[:, -1]}


class Particles(_Weighed):
    """A particle filter of `members` rows a trajectory. Frames come back weighted as `weights(state)` says: alike after resampling, so
    with threshold 1 always. Raises ValueError for members < 1, a threshold outside [0, 1], rows that `members` does not divide, and
    without noise."""

    def __init__(self, step: Step, evidence: Evidence, members: int, threshold: float = 0.5) -> None:
        super().__init__(step, evidence)
        if members < 1 or not 0 <= threshold <= 1:
            raise ValueError(f"members must be at least 1 and threshold, a part of them, in [0, 1]; got {members} and {threshold}")
        self.members, self.threshold = members, threshold

    @property
    def evaluations(self) -> int:
        """Network evaluations a call and row; a trajectory has `members` rows."""
        return int(getattr(self.step, "evaluations", 1))

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        if len(past) % self.members:
            raise ValueError(
                f"{len(past)} rows are no whole number of trajectories of {self.members} members; order them (trajectory, member)"
            )
        zero = torch.zeros(len(past), dtype=torch.float64, device=past.device)
        own = {LAST: self._last(past, conditions), WEIGHT: zero, EVIDENCE: zero, CALLS: torch.zeros((), dtype=torch.int64)}
        return {**self.step.begin(past, conditions), **own}

    def forward(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B T C *X"], State]:
        if noise is None:
            raise ValueError("particles differ by their noise; pass noise (simulate does, from its seed)")
        m, rows = self.members, len(state[LAST])
        inner = {k: v for k, v in state.items() if k not in (LAST, WEIGHT, EVIDENCE, CALLS)}
        future, new = self.step(inner, conditions, noise)
        before = state[WEIGHT].reshape(-1, m).log_softmax(1)
        joint = before + log_likelihood(self.evidence, state[LAST], future, conditions).reshape(-1, m)
        total = joint.logsumexp(1, keepdim=True)
        log_w = (joint - total).where(total.isfinite(), before)  # all members failed: keep what was known
        w = log_w.exp()
        u = uniform(AtStep(noise, int(state[CALLS])), w.new_empty(rows, 1), draw=RESAMPLING_DRAW).reshape(-1, m)[:, 0]
        poor = w.square().sum(1, keepdim=True) * m * self.threshold >= 1 - 1e-12
        index = torch.where(poor, systematic(w, u), torch.arange(m, device=w.device))
        log_w = torch.where(poor, 0.0, log_w)
        flat = (index + m * torch.arange(len(index), device=w.device)[:, None]).flatten()
        kept = future[flat]
        evidence = state[EVIDENCE] + total.expand(-1, m).flatten()
        own = {LAST: kept[:, -1], WEIGHT: log_w.flatten(), EVIDENCE: evidence, CALLS: state[CALLS] + 1}
        return kept, {**_pick(new, flat, rows), **own}

    def weights(self, state: State) -> Float[Tensor, "R M"]:
        """The members' weights, one row a trajectory, float64; they add up to 1."""
        return state[WEIGHT].reshape(-1, self.members).softmax(1)

    def log_evidence(self, state: State) -> Float[Tensor, " R"]:
        """The logarithm of the mean likelihood of all evidence so far, one a trajectory, up to the constants of the likelihoods."""
        return state[EVIDENCE].reshape(-1, self.members)[:, 0]


def systematic(weights: Float[Tensor, "R M"], u: Float[Tensor, " R"]) -> Int[Tensor, "R M"]:
    """Members drawn in proportion to weights that add up to 1, in rising order, from one uniform number a row."""
    m = weights.shape[1]
    places = (u[:, None] + torch.arange(m, dtype=weights.dtype, device=weights.device)) / m
    return torch.searchsorted(weights.cumsum(1), places, right=True).clamp(max=m - 1)


@dataclass(frozen=True)
class Candidates:
    """`Noise` for rows (row, candidate) from that of the rows; candidate 0 has the row's own draws."""

    noise: Noise
    count: int

    def __call__(self, like: Tensor, *, step: int, draw: int) -> Tensor:
        one = like[:: self.count]
        drawn = [self.noise(one, step=step, draw=draw + j * CANDIDATE_STRIDE) for j in range(self.count)]
        return torch.stack(drawn, 1).flatten(0, 1)


def affordable(step: Any, budget: int) -> int:
    """How many candidates, or members, `budget` evaluations a frame bundle pay for. Raises ValueError for a budget below one."""
    cost = int(getattr(step, "evaluations", 1))
    if budget < cost:
        raise ValueError(f"one sample of this step costs {cost} evaluations, more than the budget of {budget}; sample with fewer steps")
    return budget // cost


def _pick(state: State, index: Tensor, rows: int) -> dict[str, Tensor]:
    """The rows `index` of everything that has one entry a row."""
    return {k: v[index.to(v.device)] if v.ndim and len(v) == rows else v for k, v in state.items()}
