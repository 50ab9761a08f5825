"""A hybrid is the solver plus what is learnt: exact for an exact correction, the solver for none, trainable through its rollout."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from surrogates.constraints import ConservedIntegral, Soft
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box
from surrogates.hybrid import Corrected
from surrogates.interchange import to_xarray
from surrogates.noise import AtStep, SeededNoise
from surrogates.operators import FNO
from surrogates.pde import Burgers
from surrogates.rollout import rollout
from surrogates.saved import load, save
from surrogates.surrogate import Surrogate
from surrogates.target import Absolute
from surrogates.train.strategies import OneStep, Pushforward
from surrogates.train.unrolled import Unrolled

BOX, DT = Box.periodic((16,), 2 * math.pi), 0.1
FIELDS = Burgers.fields


class Adds(nn.Module):
    """An operator that says the same everywhere: the mean of its newest frame times `gain`."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        return self.gain * x[:, -1:].mean(-1, keepdim=True).expand(-1, 1, 16)


def conditions(rows: int, viscosity: float = 0.1) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    return Conditions(BOX, 0 * ones, DT * ones, torch.full((rows, 1), viscosity, dtype=torch.float64), ("viscosity",))


def start(rows: int, history: int = 1) -> Tensor:
    (x,) = BOX.grid()
    return torch.stack([(x + b).sin() + 0.5 for b in range(rows)])[:, None, None].float().repeat(1, history, 1, 1)


def solver() -> Burgers:
    return Burgers(24, max_dt=0.05)


def training(split: str = "train") -> xr.Dataset:
    """Burgers of four times the solver's viscosity."""
    c = conditions(3, 0.4)
    u = torch.stack(list(rollout(solver(), start(3), 8, c.after)), 1)
    u = torch.cat([start(3), u], 1)
    values = {"viscosity": [0.1] * 3}
    return to_xarray(u, FIELDS, BOX, time=[DT * n for n in range(9)], trajectories=range(3), parameters=values, attrs={"split": split})


def test_without_a_correction_it_is_the_solver_restarted_at_every_frame() -> None:
    hybrid = Corrected(solver(), Surrogate(FIELDS, BOX, DT, operator=Adds(0.0)))
    one = torch.stack(list(rollout(hybrid, start(2), 5, conditions(2).after)), 1)
    other = torch.stack(list(rollout(solver(), start(2), 5, conditions(2).after)), 1)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_known_correction_gives_the_known_solution() -> None:
    """The mean of Burgers stays; each correction adds gain times the mean, so it grows like (1 + gain)^n."""
    hybrid = Corrected(solver(), Surrogate(FIELDS, BOX, DT, operator=Adds(0.25)))
    frames = torch.stack(list(rollout(hybrid, start(2), 4, conditions(2).after)), 1)
    torch.testing.assert_close(frames.mean(-1)[0, :, 0], 0.5 * 1.25 ** torch.arange(1.0, 5), rtol=1e-5, atol=0)


def test_its_constraint_keeps_the_budget_of_the_initial_state_and_not_the_solvers() -> None:
    surrogate = Surrogate(FIELDS, BOX, DT, operator=Adds(0.25), constraint=ConservedIntegral(FIELDS, "u"))
    frames = torch.stack(list(rollout(Corrected(solver(), surrogate), start(2), 4, conditions(2).after)), 1)
    torch.testing.assert_close(frames.double().mean(-1), torch.full((2, 4, 1), 0.5, dtype=torch.float64), rtol=0, atol=1e-6)


def test_soft_budgets_count_from_the_last_frame_and_not_from_the_solvers() -> None:
    """An integral that decays by exp(-rate dt) a frame: a correction that makes it so has no penalty, one that keeps it has."""
    rate = 2.0
    factor = math.exp(-rate * DT)
    law = Soft(ConservedIntegral(FIELDS, "u", decay="drag"), 1.0)
    c = conditions(2)
    c = replace(c, parameters=torch.cat([c.parameters, torch.full((2, 1), rate, dtype=torch.float64)], 1), names=("viscosity", "drag"))
    draws = AtStep(SeededNoise(0, [0, 1], [0, 0]), 0)

    def counted(gain: float) -> Tensor:
        hybrid = Corrected(solver(), Surrogate(FIELDS, BOX, DT, operator=Adds(gain), soft=(law,)))
        with torch.no_grad():
            made, _ = hybrid(hybrid.begin(start(2), c), c)
            return hybrid.loss(start(2), made, c, draws)  # the truth is what it makes: the penalty alone is left

    assert float(counted(factor - 1).max()) < 1e-8
    assert float(counted(0.0).min()) > 1e-4


def test_with_a_history_it_sees_the_frames_before_the_solvers() -> None:
    class Keeps(Adds):
        def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
            self.seen = x
            return super().forward(x, domain, embedding)

    operator = Keeps(0.0)
    hybrid = Corrected(solver(), Surrogate(FIELDS, BOX, DT, operator=operator, history=3))
    assert hybrid.history == 2
    past = torch.cat([start(2) * 2, start(2)], 1)
    list(rollout(hybrid, past, 1, conditions(2).after))
    assert torch.equal(operator.seen[:, :2], past[:, :, 0])
    torch.testing.assert_close(operator.seen[:, 2:], hybrid.solved(past[:, -1], conditions(2), None, 0))


def test_gradients_through_the_rollout_agree_with_differences() -> None:
    hybrid = Corrected(Burgers(24, max_dt=0.1, dtype="float64"), Surrogate(FIELDS, BOX, DT, operator=Adds(0.1).double()))
    gain = hybrid.surrogate.operator.gain  # type: ignore[union-attr]

    def last(u: Tensor, g: Tensor) -> Tensor:
        out = torch.func.functional_call(hybrid, {"surrogate.operator.gain": g}, kwargs={}, args=_args(hybrid, u))[0]
        return out.square().sum()

    u = start(1).double().requires_grad_()
    assert torch.autograd.gradcheck(last, (u, gain.detach().double().requires_grad_()), eps=1e-6, atol=1e-6)


def _args(hybrid: Corrected, u: Tensor) -> tuple[Any, ...]:
    return hybrid.begin(u, conditions(1)), conditions(1), None


@pytest.mark.parametrize(
    "strategy", [OneStep(), Pushforward(2), Unrolled(3), Unrolled(3, checkpointed=True)], ids=["one", "push", "unrolled", "less"]
)
def test_strategies_of_training_take_it(strategy: Any) -> None:
    torch.manual_seed(0)
    hybrid = Corrected(solver(), Surrogate(FIELDS, BOX, DT, operator=FNO(1, 1, width=4, modes=[4], layers=1)))
    future = torch.randn(2, 3, 1, 16)
    loss = strategy(hybrid, start(2), future, conditions(2), SeededNoise(0, [0, 1], [0, 0]), 0)
    assert loss.shape == (2,)
    loss.mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in hybrid.parameters())


def test_an_unrolled_loss_sees_what_a_step_leads_to_and_checkpoints_change_nothing() -> None:
    """The solver keeps a uniform m = 1/2 and Adds(g) makes (1 + g) m of it, so that after one and two steps from a truth that stays m

    l_1 = (g m)^2,   l_2 = ((1 + g)^2 m - m)^2,   and the derivative of l_2 goes through the first step.
    """

    def gradient(strategy: Any, bundles: int) -> float:
        hybrid = Corrected(solver(), Surrogate(FIELDS, BOX, DT, operator=Adds(0.3)))
        flat, c = torch.full((1, 1, 1, 16), 0.5), conditions(1)
        loss = strategy(hybrid, flat, flat.expand(-1, bundles, -1, -1), c, SeededNoise(0, [0], [0]), 0).sum()
        loss.backward()
        return float(hybrid.surrogate.operator.gain.grad)  # type: ignore[union-attr,arg-type]

    g = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    first, second = (0.5 * g).square(), ((1 + g).square() * 0.5 - 0.5).square()
    (exact,) = torch.autograd.grad((first + second) / 2, g)
    plain, less, one = gradient(Unrolled(2), 2), gradient(Unrolled(2, checkpointed=True), 2), gradient(OneStep(), 1)
    assert abs(plain - float(exact)) < 1e-5 and abs(less - plain) < 1e-6
    assert abs(one - 0.5 * 0.3) < 1e-5


def test_statistics_are_those_of_truth_less_solver_of_the_training_split() -> None:
    data = training()
    hybrid = Corrected(solver(), Surrogate(FIELDS, BOX, DT, operator=FNO(1, 1, width=4, modes=[4], layers=1)))
    hybrid.fit(data)
    u = torch.from_numpy(data["u"].values)[:, :, None]
    first = hybrid.solved(u[:, :-1].flatten(0, 1), conditions(24), None, 0)
    lacks = (u[:, 1:].flatten(0, 1) - first).double()
    n = hybrid.surrogate.normaliser
    torch.testing.assert_close(n.tendency_std.double().flatten(), lacks.std(correction=0).reshape(1), rtol=1e-5, atol=0)
    torch.testing.assert_close(n.state_std.double().flatten(), first.double().std(correction=0).reshape(1), rtol=1e-5, atol=0)
    with pytest.raises(ValueError, match="split 'train' only"):
        hybrid.fit(training("test"))


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    hybrid = Corrected(solver(), Surrogate(FIELDS, BOX, DT, operator=FNO(1, 1, width=4, modes=[4], layers=1))).eval()
    again = load(save(hybrid, tmp_path / "h"))
    one, other = (torch.stack(list(rollout(h, start(2), 2, conditions(2).after))) for h in (hybrid, again))
    assert isinstance(again, Corrected) and torch.equal(one, other)


@pytest.mark.slow
def test_training_through_the_rollout_makes_a_wrong_solver_right() -> None:
    """Four times the viscosity is linear in the spectrum: a small FNO learns it. What is measured is the error after eight frames."""
    data = training()
    torch.manual_seed(0)
    hybrid = Corrected(solver(), Surrogate(FIELDS, BOX, DT, operator=FNO(1, 1, width=8, modes=[8], layers=1)))
    hybrid.fit(data)
    u = torch.from_numpy(data["u"].values)[:, :, None]
    optimiser = torch.optim.Adam(hybrid.parameters(), 1e-2)
    for step in range(60):
        first = step % 5
        noise = SeededNoise(step, [0, 1, 2], [0, 0, 0])
        loss = Unrolled(4)(hybrid, u[:, first : first + 1], u[:, first + 1 : first + 5], conditions(3), noise, step).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    errors = []
    for step_ in (hybrid, solver()):
        with torch.no_grad():
            made = torch.stack(list(rollout(step_, u[:, :1], 8, conditions(3).after)), 1)
        errors.append(float((made - u[:, 1:]).square().mean().sqrt()))
    assert errors[0] < 0.2 * errors[1]


def test_parts_that_do_not_fit_are_named() -> None:
    class Two(Burgers):
        bundle = 2

    with pytest.raises(ValueError, match="target: Tendency"):
        Corrected(solver(), Surrogate(FIELDS, BOX, DT, operator=Adds(0.0), target=Absolute()))
    with pytest.raises(ValueError, match="make all of them 1"):
        Corrected(Two(24, max_dt=0.05), Surrogate(FIELDS, BOX, DT, operator=Adds(0.0)))
    generative = type("G", (), {"generative": True, "bundle": 1})()
    with pytest.raises(ValueError, match="deterministic model"):
        Unrolled(2)(generative, start(1), start(1, 2), conditions(1), SeededNoise(0, [0], [0]), 0)
    with pytest.raises(ValueError, match="at least 1"):
        Unrolled(0)
