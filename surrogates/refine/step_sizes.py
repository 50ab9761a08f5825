"""The times at which a trained flow is best evaluated, chosen afterwards on calibration data; the result is a schedule, a JSON file.

Let Z(t) be a fine reference solution over a grid 1 = t_0 > ... > t_N = 0, and S(z, t, t') one step of the refiner's own sampler. Of all
ways to choose K - 1 times of the grid, `optimal_steps` finds the one of least

    sum_k |S(Z(t_k), t_k, t_k+1) - Z(t_k+1)|_rms,

the local errors, whose sum bounds the global one where the flow does not stretch. Dynamic programming is exact,

    J_k(j) = min_{i < j} J_{k-1}(i) + cost(i, j),

and costs 2 N evaluations with Euler's method, N^2/2 with others. It needs no gradients, and stays on the grid: on the levels of a discrete
schedule too. `learned_steps` goes on from there without a grid.
Source: Nguyen et al., "Bellman optimal stepsize straightening of flow-matching models" (BOSS), 2024, https://arxiv.org/abs/2312.16414.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain, Draws
from surrogates.record import construct, describe
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.samplers import heun
from surrogates.refine.schedule import Given, Schedule, check_steps


@torch.no_grad()
def optimal_steps(
    refiner: FlowMatching,
    guess: Float[Tensor, "B C *X"] | None,
    context: Float[Tensor, "B Cc *X"],
    embedding: Float[Tensor, "G E"] | None,
    domain: Domain,
    noise: Draws,
    *,
    steps: int,
    grid: int = 32,
) -> Given:
    """The schedule of least summed local error for a one-step `refiner.sampler`, among the levels of its schedule with `grid` steps.

    The reference is Heun's method on that grid. Raises ValueError for steps < 1 or beyond the grid, and for a sampler that adds noise.
    """
    check_steps(steps)
    if steps > grid:
        raise ValueError(f"{steps} steps cannot be chosen from a grid of {grid}; make the grid finer")
    _check_alone(refiner)
    frame = refiner.frame(guess, context)
    flow = refiner.velocity(frame, guess, context, embedding, domain)
    levels = refiner.schedule.levels(grid)
    states, slopes = _reference(flow, refiner.start(frame, context, domain, noise), levels)

    def cost(i: int, j: int) -> Tensor:
        def velocity(z: Tensor, s: float) -> Tensor:
            return slopes[i] if z is states[i] else flow(z, s)

        error = refiner.sampler(velocity, states[i], (levels[i], levels[j]), refiner.path, None) - states[j]
        return error.double().square().mean().sqrt()

    costs = torch.zeros(grid, grid + 1, dtype=torch.float64, device=states[0].device)
    for i, j in combinations(range(grid + 1), 2):
        costs[i, j] = cost(i, j)
    chosen = least_path(costs.tolist(), steps)
    return Given(tuple(levels[i] for i in chosen), refiner.schedule)


def _check_alone(refiner: FlowMatching) -> None:
    """Raise ValueError for a sampler that draws noise on its way: one step of it has no error of its own to be measured."""
    levels = refiner.schedule.levels(refiner.steps)
    try:
        refiner.sampler(lambda z, s: z, torch.zeros(1, 1, 1), levels, refiner.path, None)
    except ValueError as error:
        raise ValueError(
            f"steps are chosen by the errors of single steps, but {refiner.sampler} draws noise on its way; choose them with "
            "sampler=euler, heun or ddim, and sample with what you like at those levels"
        ) from error


def _reference(flow: Callable[[Tensor, float], Tensor], z: Tensor, levels: Sequence[float]) -> tuple[list[Tensor], list[Tensor]]:
    """Z and its velocity on a grid, by Heun's method."""
    states, slopes = [z], []
    for s, r in pairwise(levels):
        slopes.append(flow(z, s))
        z = heun(lambda y, t: slopes[-1] if y is states[-1] else flow(y, t), z, (s, r))
        states.append(z)
    return states, slopes


def least_path(costs: Sequence[Sequence[float]], steps: int) -> tuple[int, ...]:
    """The nodes 0 = i_0 < ... < i_steps = N of least summed costs[i][j], i < j; costs has N rows of N + 1."""
    n = len(costs)
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, (0,))}
    for _ in range(steps):
        best = {
            j: min((total + costs[i][j], (*way, j)) for i, (total, way) in best.items() if i < j)
            for j in range(1, n + 1)
            if any(i < j for i in best)
        }
    return best[n][1]


def with_steps(refiner: FlowMatching, schedule: Given) -> FlowMatching:
    """The same refiner, sharing its operator, sampled at these times. `Surrogate.with_refiner` puts it into a surrogate, to be saved."""
    arguments: dict[str, Any] = {**refiner.arguments, "schedule": schedule, "steps": len(schedule.times) - 1}  # type: ignore[dict-item]
    if "warm" in arguments:  # that would copy a teacher's weights over those that were trained
        arguments["warm"] = False
    again = type(refiner)(**arguments)
    again.load_state_dict(refiner.state_dict())
    return again.train(refiner.training)


def write(schedule: Schedule, path: str | os.PathLike[str]) -> Path:
    """A schedule as a JSON file, written whole or not at all."""
    file = Path(path)
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(describe(schedule), indent=1) + "\n")
    os.replace(part, file)
    return file


def read(path: str | os.PathLike[str]) -> Schedule:
    """The schedule of a file. Raises FileNotFoundError, and ValueError for a file that holds something else."""
    try:
        schedule = construct(json.loads(Path(path).read_text()))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}; `step_sizes.write` makes a schedule file") from error
    if not isinstance(schedule, Schedule):
        raise ValueError(f"{path} describes a {type(schedule).__name__}, not a schedule; `step_sizes.write` makes one")
    return schedule
