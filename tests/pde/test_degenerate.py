"""Degenerate diffusion: fronts and jumps against exact solutions, budgets, bounds, and what every Step owes."""

from __future__ import annotations

import pickle

import pytest
import torch

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.pde import PorousMedium, Stefan
from surrogates.pde.porous_medium import barenblatt
from surrogates.pde.stefan import alpha_of
from surrogates.record import construct, describe
from tests.laws import step_laws


def line(n: int, lower: float = 0.0, upper: float = 1.0) -> Box:
    return Box((n,), (lower,), (upper,), ("wall",))


PORES, MELT = {"exponent": 3.0, "front": 0.15}, {"melting": 0.6}
CASES = {"porous_medium": (PorousMedium, PORES, 0.02), "stefan": (Stefan, MELT, 0.004)}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def error(step, box: Box, time: float, conditions, frames: int = 2, **parameters):
    """Mean L1 error of cell averages after `time`, over the rows of the parameters."""
    rows = max((len(v) for v in parameters.values()), default=1)
    c = conditions(box, rows, time / frames, **parameters)
    state = step.begin(step.initial(box, range(rows), 0, conditions=c)[:, None], c)
    for _ in range(frames):
        out, state = step(state, c)
    exact = step.average(box, torch.full((rows,), time).double(), step.parameters(c))
    return box.integral((out[:, 0] - exact).abs()).mean().item()


@pytest.mark.parametrize("exponent", [1.0, 2.0, 6.0])
def test_the_travelling_front_to_first_order(exponent, conditions) -> None:
    coarse, fine = (error(PorousMedium(max_dt=0.5 / n, exponent=exponent, front=0.1), line(n), 0.4, conditions) for n in (24, 72))
    assert fine < 0.006 and coarse / fine > 2.4, (coarse, fine)


def test_the_melting_front_to_first_order(conditions) -> None:
    melting = torch.linspace(0.55, 0.7, 12).tolist()  # the error of one moves up and down as its front crosses a cell
    coarse, fine = (error(Stefan(max_dt=0.1 / n), line(n), 0.08, conditions, melting=melting) for n in (24, 96))
    assert fine < 4e-4 and coarse / fine > 2.7, (coarse, fine)


@pytest.mark.parametrize("case, time, position", [("porous_medium", 0.5, 0.65), ("stefan", 0.08, None)])
def test_fronts_stand_where_they_should(case, time, position, conditions) -> None:
    kind, p, _ = CASES[case]
    box, step = line(64), kind(max_dt=time / 80, **p)
    c = conditions(box, 1, time)
    out, _ = step(step.begin(step.initial(box, [0], 0)[:, None], c), c)
    if position is None:
        position = 2 * float(alpha_of(torch.tensor(0.6).double())) * (time + 0.01) ** 0.5
    wet = box.coordinate(0)[out[0, 0, 0] > 0.05]
    assert abs(float(wet.max()) - position) < 2.5 / 64


def test_barenblatts_solution_spreads_and_keeps_its_mass(evolve) -> None:
    m, box = 2.0, line(160, -4.0, 4.0)
    u = barenblatt(box.coordinate(0), 1.0, m)[None, None]
    out = evolve(PorousMedium(max_dt=0.02, exponent=m, speed=0.0), u, box, 2.0)
    exact = barenblatt(box.coordinate(0), 3.0, m)[None, None]
    assert box.integral((out - exact).abs()).item() < 0.01 * box.integral(exact).item()
    assert box.integral((out - u).abs()).item() > 0.2 * box.integral(exact).item()
    torch.testing.assert_close(box.integral(out), box.integral(u), rtol=1e-13, atol=0)


def test_the_gain_is_what_came_in(case, conditions) -> None:
    kind, p, dt = case
    box, step = line(48), kind(max_dt=dt / 4, **p)
    c = conditions(box, 1, dt)
    u = step.initial(box, [0], 0)
    state = step.begin(u[:, None], c)
    for _ in range(4):
        out, state = step(state, c)
    gain = box.integral(out[:, 0]) - box.integral(u)
    torch.testing.assert_close(gain[:, 0], state["gained"], rtol=0, atol=1e-14)
    assert gain.item() > 0.01


def test_nothing_falls_below_zero_or_out_of_its_bounds_at_any_step(evolve) -> None:
    box = line(64)
    x = box.coordinate(0)
    u = ((x > 0.3) & (x < 0.5)).double()[None, None] + 0.5 * ((x > 0.7) & (x < 0.72)).double()
    for max_dt in (1.0, 0.01):
        out = evolve(PorousMedium(max_dt=max_dt, exponent=4.0, speed=0.0), u, box, 1.0)
        assert out.min() >= 0 and out.max() < 1 and (out == 0).any()


def test_exact_averages_are_integrals_of_the_exact_solution(case, conditions) -> None:
    kind, p, _ = case
    step, t = kind(max_dt=1.0, **p), torch.tensor([0.03]).double()
    q, box, fine = step.parameters(conditions(line(8), 1, 1.0)), line(8), line(8 * 4000)
    points = step.exact(fine.coordinate(0), t, q)[:, None]
    torch.testing.assert_close(step.average(box, t, q), step.resample(points, fine, box), rtol=0, atol=2e-4)


def test_the_neumann_constant_solves_its_equation() -> None:
    star = torch.tensor([0.1, 0.5, 0.9]).double()
    alpha = alpha_of(star)
    left, right = (1 - star) / torch.pi**0.5, star * torch.erf(alpha) * alpha * torch.exp(alpha**2)
    torch.testing.assert_close(left, right, rtol=1e-12, atol=0)


# -- what every Step owes ----------------------------------------------------------------------------------------------


def test_is_a_step(case, conditions) -> None:
    kind, p, dt = case
    box, step = line(24), kind(max_dt=dt / 2, **p)
    u = step.initial(box, [0, 1], 0)
    u[1] *= 0.9
    step_laws(step, u[:, None], conditions(box, 2, dt), lambda rows: None, rounding=1e-13)


def test_rolling_on_from_a_frame_is_rolling_on(case, conditions) -> None:
    kind, p, dt = case
    box, step = line(32), kind(max_dt=dt / 2, **p)
    c = conditions(box, 1, dt)
    state = step.begin(step.initial(box, [0], 0)[:, None], c)
    for _ in range(2):
        middle, state = step(state, c)
    whole, _ = step(state, c.after(2))
    again, _ = step(step.begin(middle, c.after(2)), c.after(2))
    assert torch.equal(again, whole)


def test_rows_with_parameters_and_steps_of_their_own_equal_separate_runs(evolve) -> None:
    box, step = line(32), PorousMedium(max_dt=0.01)
    p = {"exponent": [1.0, 3.5, 6.0], "front": [0.1, 0.2, 0.3], "speed": [1.0, 0.5, 0.0]}
    u = torch.rand(3, 1, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    dts = [0.02, 0.005, 0.03]
    together = evolve(step, u, box, dts, 2, **p)
    for row in range(3):
        alone = evolve(step, u[row : row + 1], box, dts[row], 2, **{n: v[row] for n, v in p.items()})
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-13)


def test_a_finer_solver_takes_and_gives_the_cells_of_the_data(case, evolve) -> None:
    kind, p, dt = case
    step, box, fine = kind(96, max_dt=dt / 4, **p), line(32), line(96)
    u = kind(max_dt=dt, **p).initial(box, [0], 0)
    out = evolve(step, u, box, dt)
    expected = evolve(step, u.repeat_interleave(3, -1), fine, dt).reshape(1, 1, 32, 3).mean(-1)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="do not divide each other"):
        evolve(kind(48, max_dt=dt, **p), u, box, dt)


def test_single_precision_agrees_to_its_rounding(case, evolve) -> None:
    kind, p, dt = case
    box = line(32)
    u = kind(max_dt=dt, **p).initial(box, [0], 0)
    double, single = (evolve(kind(max_dt=dt / 2, dtype=d, **p), u, box, dt, 2) for d in ("float64", torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=2e-5)


def test_gradients_are_those_of_finite_differences(evolve) -> None:
    box, step = line(16), PorousMedium(max_dt=0.01, exponent=2.0)
    u, v, target = torch.rand(3, 1, 1, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    u.requires_grad_(True)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (evolve(step, x, box, 0.02) * target).sum()

    (gradient,) = torch.autograd.grad(loss(u), u)
    numeric = (loss(u + 1e-6 * v) - loss(u - 1e-6 * v)) / 2e-6
    torch.testing.assert_close((gradient * v).sum(), numeric.detach(), rtol=1e-6, atol=1e-8)


def test_writes_itself_down_and_travels(case, evolve) -> None:
    kind, p, dt = case
    box, step = line(16), kind(max_dt=dt, dtype="float64", **p)
    out = evolve(step, step.initial(box, [0], 0), box, dt)
    for again in (construct(describe(step)), pickle.loads(pickle.dumps(step))):
        assert torch.equal(evolve(again, step.initial(box, [0], 0), box, dt), out)


# -- bad input -----------------------------------------------------------------------------------------------------------


def test_what_makes_no_sense_is_refused(case, conditions) -> None:
    kind, p, dt = case
    step, box = kind(max_dt=dt, **p), line(16)
    for domain in (Box.periodic((16,), 1.0), Box((4, 4), (0.0, 0.0), (1.0, 1.0), ("wall", "wall"))):
        with pytest.raises(ValueError, match="needs a Box of one axis between walls"):
            step.begin(torch.zeros(1, 1, 1, *domain.shape), conditions(domain, 1, dt))
    with pytest.raises(ValueError, match="must not be negative"):
        step.begin(-torch.ones(1, 1, 1, 16), conditions(box, 1, dt))
    with pytest.raises(ValueError, match="channels but"):
        step.begin(torch.ones(1, 1, 2, 16), conditions(box, 1, dt))
    with pytest.raises(ValueError, match="dt must be positive"):
        c = conditions(box, 1, 0.0)
        step(step.begin(torch.ones(1, 1, 1, 16), c), c)
    with pytest.raises(ValueError, match="needs 1 entries"):
        kind((8, 8), max_dt=dt)


def test_the_melting_value_lies_between_the_phases(conditions) -> None:
    box = line(16)
    for melting in (0.0, 1.0):
        with pytest.raises(ValueError, match="melting must lie between 0 and 1"):
            Stefan(max_dt=0.1).initial(box, [0], 0, conditions=conditions(box, 1, 0.1, melting=melting))


def test_initial_states_follow_the_conditions(conditions) -> None:
    box = line(16)
    c: Conditions = conditions(box, 2, 0.1, exponent=[1.0, 4.0], front=[0.1, 0.4])
    u = PorousMedium(max_dt=0.1).initial(box, [0, 1], 0, conditions=c)
    assert u.shape == (2, 1, 16) and int((u[0] > 0).sum()) == 2 and int((u[1] > 0).sum()) == 7
