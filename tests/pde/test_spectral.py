"""What every spectral solver owes as a Step: rows apart, restart, precision, resolution, gradients, and errors that teach."""

from __future__ import annotations

import pickle
from itertools import pairwise
from math import pi

import pytest
import torch

from surrogates.contracts import Step
from surrogates.domains import Box
from surrogates.pde import Burgers, KdV, Kolmogorov, KuramotoSivashinsky, PassiveScalar, etdrk2, rk4_crank_nicolson
from surrogates.record import construct, describe

LINE, RING, TORUS = Box.periodic((48,), 2 * pi), Box.periodic((48,), 22.0), Box.periodic((24, 20), (2 * pi, 4.0))
FLOW = {"viscosity": 0.02, "drag": 0.1, "forcing": 1.0, "wavenumber": 2}
CASES = {
    "burgers": (Burgers, LINE, {"viscosity": 0.1}, 0.2, 0.01),
    "kdv": (KdV, RING, {"dispersion": 1.0}, 0.2, 0.01),
    "kuramoto_sivashinsky": (KuramotoSivashinsky, RING, {"viscosity": 1.0}, 0.5, 0.05),
    "kolmogorov": (Kolmogorov, TORUS, FLOW, 0.3, 0.03),
    "passive_scalar": (PassiveScalar, TORUS, {**FLOW, "diffusivity": 0.01}, 0.3, 0.03),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def test_is_a_step(case, conditions) -> None:
    equation, box, p, dt, max_dt = case
    step = equation(max_dt=max_dt)
    u = step.initial(box, [3, 1], 0)
    assert isinstance(step, Step)
    assert u.shape == (2, step.inputs.count, *box.shape)
    state = step.begin(u.unsqueeze(1), conditions(box, 2, dt, **p))
    out, new = step(state, conditions(box, 2, dt, **p))
    assert out.shape == (2, 1, *u.shape[1:]) and out.dtype == torch.float64
    assert int(state["step"]) == 0 and int(new["step"]) == 1


def test_rolling_on_from_a_frame_is_rolling_on(case, evolve) -> None:
    equation, box, p, dt, max_dt = case
    step = equation(max_dt=max_dt)
    u = step.initial(box, [0, 1], 5)
    middle = evolve(step, u, box, dt, 2, **p)
    assert (middle - u).abs().max() > 1e-3
    torch.testing.assert_close(evolve(step, middle, box, dt, 3, **p), evolve(step, u, box, dt, 5, **p), rtol=0, atol=1e-11)


def test_rows_with_parameters_and_steps_of_their_own_equal_separate_runs(case, evolve) -> None:
    equation, box, p, dt, max_dt = case
    step = equation(max_dt=max_dt)
    u = step.initial(box, [0, 1, 2], 5)
    several = {name: [v, v if name == "wavenumber" else 1.5 * v, 2 * v] for name, v in p.items()}
    dts = [dt, 0.35 * dt, 0.98 * dt]  # the second row asks for fewer substeps
    together = evolve(step, u, box, dts, 2, **several)
    for row in range(3):
        alone = evolve(equation(max_dt=max_dt), u[row : row + 1], box, dts[row], 2, **{n: v[row] for n, v in several.items()})
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-13)


def test_constants_of_the_constructor_stand_in_for_conditions(case, evolve) -> None:
    equation, box, p, dt, max_dt = case
    u = equation(max_dt=max_dt).initial(box, [0], 5)
    given = evolve(equation(max_dt=max_dt), u, box, dt, **p)
    assert torch.equal(evolve(equation(max_dt=max_dt, **p), u, box, dt), given)
    assert torch.equal(evolve(equation(max_dt=max_dt, **{n: 2 * v for n, v in p.items()}), u, box, dt, **p), given)


def test_single_precision_agrees_to_its_rounding(case, evolve) -> None:
    equation, box, p, dt, max_dt = case
    u = equation(max_dt=max_dt).initial(box, [0, 1], 5)
    double, single = (evolve(equation(max_dt=max_dt, dtype=d), u, box, dt, 2, **p) for d in ("float64", torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=2e-5)
    assert evolve(equation(max_dt=max_dt), u.float(), box, dt, **p).dtype == torch.float32


def test_a_finer_solver_takes_and_gives_the_grid_of_the_data(case, evolve) -> None:
    equation, box, p, dt, max_dt = case
    fine = box.with_shape([2 * n for n in box.shape])
    step = equation(max_dt=max_dt)
    u = step.initial(box, [0], 5)
    inside = evolve(equation([2 * n for n in box.shape], max_dt=max_dt), u, box, dt, **p)
    outside = fine.resample(evolve(step, box.resample(u, fine.shape), fine, dt, **p), box.shape)
    torch.testing.assert_close(inside, outside, rtol=0, atol=1e-12)


def test_converges_in_time_and_space(case, evolve) -> None:
    equation, box, p, dt, max_dt = case
    u = equation(max_dt=max_dt).initial(box, [0], 5, peak=1.0, rms=0.4)
    answers = [evolve(equation(max_dt=h), u, box, dt, **p) for h in (max_dt, max_dt / 2, max_dt / 4)]
    first, second = ((a - b).abs().max() for a, b in pairwise(answers))
    assert second < first / 10 or second < 1e-12
    double = evolve(equation([2 * n for n in box.shape], max_dt=max_dt / 4), u, box, dt, **p)
    assert (double - answers[-1]).abs().max() < 1e-3 * u.abs().max()


@pytest.mark.parametrize("scheme", [etdrk2, rk4_crank_nicolson])
def test_schemes_agree_as_the_step_shrinks(case, evolve, scheme) -> None:
    equation, box, p, dt, max_dt = case
    u = equation(max_dt=max_dt).initial(box, [0], 5, peak=1.0)
    exact = evolve(equation(max_dt=max_dt / 4), u, box, dt, **p)
    coarse, fine = ((evolve(equation(max_dt=h, scheme=scheme), u, box, dt, **p) - exact).abs().max() for h in (max_dt, max_dt / 2))
    assert coarse / fine > 3.3
    assert fine < 2e-2


def test_gradients_are_those_of_finite_differences(case, evolve) -> None:
    equation, box, p, dt, max_dt = case
    step = equation(max_dt=max_dt)
    u, v, target = step.initial(box, [0, 1, 2], 5).unsqueeze(1)
    u.requires_grad_(True)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (evolve(step, x, box, dt, **p) * target).sum()

    (gradient,) = torch.autograd.grad(loss(u), u)
    numeric = (loss(u + 1e-5 * v) - loss(u - 1e-5 * v)) / 2e-5
    torch.testing.assert_close((gradient * v).sum(), numeric.detach(), rtol=1e-6, atol=1e-8)


def test_gradients_reach_the_parameters(case, conditions) -> None:
    equation, box, p, dt, max_dt = case
    step = equation(max_dt=max_dt)
    u, target = step.initial(box, [0], 5), step.initial(box, [1], 5)
    c = conditions(box, 1, dt, **p)

    def loss(parameters: torch.Tensor) -> torch.Tensor:
        object.__setattr__(c, "parameters", parameters)
        return (step(step.begin(u.unsqueeze(1), c), c)[0][:, 0] * target).mean()

    x = c.parameters.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(x), x)
    (again,) = torch.autograd.grad(loss(x), x)  # nothing of the first graph was kept
    shift = torch.zeros_like(x)
    shift[0, 0] = 1e-6
    numeric = (loss(x + shift) - loss(x - shift)) / 2e-6
    torch.testing.assert_close(gradient[0, 0], numeric.detach(), rtol=1e-5, atol=1e-9)
    assert torch.equal(gradient, again) and gradient[0, 0] != 0


def test_coefficients_are_made_once_and_again_for_new_conditions(case, conditions, monkeypatch) -> None:
    equation, box, p, dt, max_dt = case
    step, made = equation(max_dt=max_dt), []
    monkeypatch.setattr(step, "terms", lambda *a: made.append(a) or equation.terms(step, *a))
    u = step.initial(box, [0], 5)
    with torch.inference_mode():
        cases = [(dt, 1.0), (dt, 1.0), (dt / 2, 1.0), (dt, 3.0)]
        for c in (conditions(box, 1, length, **{n: v * (1 if n == "wavenumber" else f) for n, v in p.items()}) for length, f in cases):
            state = step.begin(u.unsqueeze(1), c)
            for _ in range(3):
                _, state = step(state, c)
    assert len(made) == 3
    u.requires_grad_(True)  # what was made under inference mode must serve a backward pass
    c = conditions(box, 1, dt, **p)
    step(step.begin(u.unsqueeze(1), c), c)[0].sum().backward()
    assert len(made) == 3 and u.grad is not None


def test_initial_states_belong_to_their_trajectory_and_to_every_resolution(case) -> None:
    equation, box, *_ = case
    step = equation(max_dt=0.1)
    fine = box.with_shape([3 * n for n in box.shape])
    u = step.initial(fine, [4, 9], 1, peak=2.0)
    assert u.dtype == torch.float64
    torch.testing.assert_close(u[1:], step.initial(fine, [9], 1, peak=2.0), rtol=0, atol=1e-14)
    assert (u[0] - u[1]).abs().max() > 0.1 and (u - step.initial(fine, [4, 9], 2, peak=2.0)).abs().max() > 0.1
    torch.testing.assert_close(fine.resample(u, box.shape), step.initial(box, [4, 9], 1, peak=2.0), rtol=0, atol=1e-13)
    assert fine.average(u).abs().max() < 1e-14
    torch.testing.assert_close(fine.average(u[:, :2].square()).sum(1), torch.ones(2).double(), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="peak must be a positive"):
        step.initial(box, [0], 0, peak=0.0)


def test_writes_itself_down_and_is_built_again(case, evolve) -> None:
    equation, box, p, dt, max_dt = case
    step = equation(max_dt=max_dt, scheme=etdrk2, dtype="float64")
    again = construct(describe(step))
    u = step.initial(box, [0], 5)
    assert type(again) is equation and torch.equal(evolve(again, u, box, dt, **p), evolve(step, u, box, dt, **p))


def test_travels_to_another_process(case, evolve) -> None:
    equation, box, p, dt, max_dt = case
    step = equation(max_dt=max_dt)
    u = step.initial(box, [0], 5)
    out = evolve(step, u, box, dt, **p)
    assert torch.equal(evolve(pickle.loads(pickle.dumps(step)), u, box, dt, **p), out)


# -- bad input ------------------------------------------------------------------------------------------------------


def test_walls_and_other_dimensions_are_refused(case, conditions) -> None:
    equation, box, p, dt, max_dt = case
    step, d = equation(max_dt=max_dt), box.dim
    walled = Box(box.shape, box.lower, box.upper, ("wall",) * d)
    for other in (walled, Box.periodic((8,) * (3 - d), 1.0)):
        with pytest.raises(ValueError, match=r"needs a periodic Box of \d axes.*Box\.periodic"):
            step.begin(torch.zeros(1, 1, step.inputs.count, *other.shape), conditions(other, 1, dt, **p))


def test_a_missing_parameter_is_named(conditions) -> None:
    step = Burgers(max_dt=0.1)
    c = conditions(LINE, 1, 0.1, drag=1.0)
    with pytest.raises(KeyError, match=r"Burgers needs 'viscosity'.*\('drag',\).*Burgers\(viscosity="):
        step(step.begin(torch.zeros(1, 1, 1, 48), c), c)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_coefficients_are_finite_and_not_negative(conditions, value) -> None:
    step = Burgers(max_dt=0.1)
    c = conditions(LINE, 3, 0.1, viscosity=[0.1, value, 0.1])
    with pytest.raises(ValueError, match=r"viscosity must be finite and >= 0.*rows \[1\]"):
        step(step.begin(torch.zeros(3, 1, 1, 48), c), c)


def test_channels_and_grids_that_do_not_fit_are_refused(case, conditions) -> None:
    equation, box, p, dt, max_dt = case
    step = equation(max_dt=max_dt)
    with pytest.raises(ValueError, match=r"channels but .* takes"):
        step.begin(torch.zeros(1, 1, step.inputs.count + 1, *box.shape), conditions(box, 1, dt, **p))
    with pytest.raises(ValueError, match="but this Box takes"):
        step.begin(torch.zeros(1, 1, step.inputs.count, *[n + 1 for n in box.shape]), conditions(box, 1, dt, **p))
    state = step.begin(torch.zeros(1, 1, step.inputs.count, *box.shape), conditions(box, 1, dt, **p))
    with pytest.raises(ValueError, match=r"state on .* was begun with .*resolution"):
        step(state, conditions(box.with_shape([2 * n for n in box.shape]), 1, dt, **p))
    with pytest.raises(ValueError, match="carries no mode but the mean"):
        coarse = box.with_shape((3,) * box.dim)
        step.begin(torch.zeros(1, 1, step.inputs.count, *coarse.shape), conditions(coarse, 1, dt, **p))


def test_settings_that_make_no_sense_are_refused(conditions) -> None:
    for arguments, message in [
        ({"max_dt": 0.0}, "max_dt must be positive"),
        ({"max_dt": 0.1, "dtype": "float16"}, "dtype must be"),
        ({"max_dt": 0.1, "dtype": "flaot32"}, "dtype must be"),
        ({"max_dt": 0.1, "resolution": (32, 32)}, "needs 1 entries"),
    ]:
        with pytest.raises(ValueError, match=message):
            Burgers(**arguments)
    step, c = Burgers(max_dt=0.1, viscosity=1.0), conditions(LINE, 1, 0.0)
    with pytest.raises(ValueError, match="dt must be positive"):
        step(step.begin(torch.zeros(1, 1, 1, 48), c), c)


def test_substeps_are_the_fewest_no_longer_than_max_dt(conditions) -> None:
    for dt, max_dt, n in [(0.1, 0.1, 1), (0.3, 0.1, 3), (1.1, 0.1, 11), (2.1, 0.7, 3), (0.31, 0.1, 4), (0.05, 0.1, 1)]:
        step = Burgers(max_dt=max_dt, viscosity=1.0)
        plans = step.make_plan(conditions(LINE, 1, dt), LINE, torch.zeros(1, 1, 16, dtype=torch.complex128))
        assert [p.substeps for p in plans] == [n]
