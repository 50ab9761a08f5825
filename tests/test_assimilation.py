"""Assimilation: exact posteriors in physical units, the surrogate itself where nothing is known, and what users write."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from laws import step_laws
from torch import Tensor, nn

from surrogates.assimilation import Assimilation
from surrogates.constraints import ConservedIntegral
from surrogates.contracts import Conditions, Step
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.forecast import simulate
from surrogates.interchange import to_xarray
from surrogates.noise import SeededNoise
from surrogates.normalise import Normaliser
from surrogates.operators import FNO
from surrogates.pde import Burgers
from surrogates.pde.residual import residual
from surrogates.refine import FEATURES, FlowMatching, GaussianVelocity, heun
from surrogates.refine.evidence import Both, Equation, Evidence, Observed, Series
from surrogates.refine.guidance import EndPoint, PosteriorSampling
from surrogates.refine.measurement import BlockMeans, Observation, Sensors
from surrogates.refine.moment_matching import MomentMatching
from surrogates.rollout import rollout
from surrogates.surrogate import Surrogate
from surrogates.target import Absolute, Tendency

F64: Any = {"dtype": torch.float64}
FIELDS, BOX, DT = Fields.of(Field("u", "m s-1"), Field("T", "K")), Box.periodic((8,), 2.0, units="m"), 0.25
MEAN, COVARIANCE = (0.3, -0.2), ((1.0, 0.4), (0.4, 0.5))
TIGHT = 1e-4  # where moment matching reads its covariance: its limit


def conditions(rows: int, box: Box = BOX, dt: float = DT) -> Conditions:
    one = torch.ones(rows, **F64)
    return Conditions(box, 0 * one, dt * one, torch.zeros(rows, 0, **F64))


def seeded(rows: Tensor) -> SeededNoise:
    return SeededNoise(7, rows.tolist(), [0] * len(rows))


def past(rows: int, history: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    u = torch.randn(rows, history, 2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (u * torch.tensor([[1.0], [20.0]]) + torch.tensor([[0.0], [290.0]])).to(dtype)


def gaussian(target: Any, steps: int = 64, frames: int = 1) -> Surrogate:
    """Generates N(MEAN, COVARIANCE) over the channels of each frame, normalised, alike at every point."""
    covariance = torch.block_diag(*[torch.tensor(COVARIANCE, **F64)] * frames)
    oracle = GaussianVelocity(MEAN * frames, tuple(map(tuple, covariance.tolist())))
    refiner = FlowMatching(oracle, channels=2 * frames, sampler=heun, steps=steps)
    made = Surrogate(FIELDS, BOX, DT, refiner=refiner, target=target, bundle=frames)
    numbers = [torch.tensor(v) for v in ([0.0, 290.0], [1.0, 20.0], [0.0, 0.1], [0.1, 2.0])]
    made.normaliser.load_state_dict(Normaliser(*numbers, dim=1).state_dict())
    return made


def network(history: int = 2, bundle: int = 1, **parts: Any) -> Surrogate:
    torch.manual_seed(0)
    c = 2 * bundle
    refiner = FlowMatching(FNO(2 * c + 2 * history, c, FEATURES, width=8, modes=(3,), layers=2), channels=c, sampler=heun, steps=2)
    guess = FNO(2 * history, c, 0, width=8, modes=(3,), layers=2)
    made = Surrogate(FIELDS, BOX, DT, operator=guess, refiner=refiner, history=history, bundle=bundle, **parts)
    numbers = [torch.tensor(v) for v in ([0.0, 290.0], [1.0, 20.0], [0.0, 0.1], [0.1, 2.0])]
    made.normaliser.load_state_dict(Normaliser(*numbers, dim=1).state_dict())
    made.coherence.fill_(0.6)
    return made.eval()


SENSORS = Sensors.at(BOX, [[0.25], [1.3]], [1, 0], torch.tensor([0.5, 0.05]))


def readings(*times: float, seed: int = 1) -> Observed:
    values = torch.tensor([290.0, 0.0]) + torch.tensor([5.0, 0.5]) * torch.randn(
        len(times), 2, generator=torch.Generator().manual_seed(seed)
    )
    return Observed(Series(SENSORS, times, values))


def test_readings_may_be_tensors_arrays_or_lists_and_are_those_of_every_row() -> None:
    times, values = torch.tensor([0.5, 1.0], **F64), torch.tensor([[290.0, 0.1], [291.0, torch.nan]])
    now, u = torch.tensor([1.0, 0.5, 0.7], **F64), past(3)[:, 0]
    want = Series(SENSORS, times, values)(now)
    assert want is not None
    for form in (lambda x: x.numpy(), lambda x: x.tolist()):
        found = Series(SENSORS, form(times), form(values))(now)
        assert found is not None and torch.equal(found.misfit(u), want.misfit(u))
    assert torch.isfinite(want.values).tolist() == [[True, False], [True, True], [False, False]]
    apart = Series(SENSORS, times, values[:, None].expand(2, 3, 2))(now)  # one a row: no rows are told apart
    assert apart is not None
    with pytest.raises(ValueError, match="values were observed but the measurement makes 2 in each of 3 rows"):
        apart.misfit(u)
    for bad in (times[:1], times[:, None]):
        with pytest.raises(ValueError, match=r"give \(K,\) and \(K, N\)"):
            Series(SENSORS, bad, values)


# -- exactness -----------------------------------------------------------------------------------------------------


def exact(target: Any, last: Tensor, surrogate: Surrogate, frame: int, y: Tensor, a: Tensor, error: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance at one point of the T frames' channels (T C), physical, after y = a u_frame + error."""
    frames = surrogate.bundle
    n = surrogate.normaliser
    S = torch.block_diag(*[torch.tensor(COVARIANCE, **F64)] * frames)
    m = torch.tensor(MEAN * frames, **F64)
    if isinstance(target, Absolute):
        lift, shift = n.state_std.double().flatten().repeat(frames).diag(), n.state_mean.double().flatten().repeat(frames)
    else:
        scale = n.tendency_std.double().flatten().diag()
        below = torch.tril(torch.ones(frames, frames, **F64))
        lift = torch.kron(below, scale)
        shift = (below @ torch.ones(frames, 1, **F64) @ n.tendency_mean.double().reshape(1, 2) + last).flatten()
    prior_mean, prior = lift @ m + shift, lift @ S @ lift.T
    A = torch.zeros(1, 2 * frames, **F64)
    A[0, 2 * frame : 2 * frame + 2] = a
    gain = prior @ A.T / (A @ prior @ A.T + error**2)
    return prior_mean + (gain * (y - A @ prior_mean)).flatten(), prior - gain @ A @ prior


@pytest.mark.parametrize(("frames", "frame"), [(1, 0), (2, 1)])
@pytest.mark.parametrize("target", [Tendency(), Absolute()], ids=["tendency", "absolute"])
def test_the_posterior_of_a_frame_is_exact_in_physical_units(target: Any, frames: int, frame: int) -> None:
    """One point observed: T there; u follows through the covariance, and so does the other frame."""
    rows, y, error = 2000, torch.tensor([291.5]), 5.0 if isinstance(target, Absolute) else 0.5  # T is spread by 14 K, or by 1.4 K
    made = gaussian(target, 24, frames)
    sensor = Sensors.points(BOX, [3], 1, error)
    step = Assimilation(made, Observed(Series(sensor, [DT * (frame + 1)], y[:, None])), floor=TIGHT)
    before = past(1).expand(rows, -1, -1, -1)
    c = conditions(rows)
    u, _ = step(step.begin(before, c), c, seeded(torch.arange(rows)))
    here = u[..., 3].flatten(1)
    mean, covariance = exact(target, before[0, 0, :, 3], made, frame, y, torch.tensor([0.0, 1.0], **F64), error)
    scale = covariance.diag().sqrt()
    assert ((here.mean(0) - mean).abs() < 0.08 * scale).all()
    torch.testing.assert_close(here.T.cov() / scale / scale[:, None], covariance / scale / scale[:, None], rtol=0, atol=0.1)
    free, _ = made(made.begin(before[:5], conditions(5)), conditions(5), seeded(torch.arange(5)))
    elsewhere = [k for k in range(8) if k != 3]
    torch.testing.assert_close(u[:5, ..., elsewhere], free[..., elsewhere], rtol=1e-9, atol=1e-9)  # points are independent here


def test_a_coarse_field_comes_back_from_its_samples() -> None:
    """Super-resolution: block means are met to their error, and what they do not tell keeps its spread."""
    made = gaussian(Absolute(), 16)
    means = BlockMeans(BOX, (4,), 0.02, (0,))
    coarse = torch.tensor([[0.4, -0.6]])
    step = Assimilation(made, Observed(lambda time: Observation(means, coarse)), MomentMatching(2), floor=TIGHT)
    rows = 500
    c, before = conditions(rows), past(1).expand(rows, -1, -1, -1)
    u, _ = step(step.begin(before, c), c, seeded(torch.arange(rows)))
    misses = means(u[:, 0]) - coarse
    assert misses.std() < 0.03 and misses.mean().abs() < 0.01
    within = u[:, 0, 0].unflatten(1, (2, 4))
    # of four independent points of variance one, three directions are free
    assert abs((within - within.mean(2, keepdim=True)).square().mean().item() - 0.75) < 0.06


# -- the surrogate itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("history", "bundle"), [(2, 1), (1, 3)])
def test_without_evidence_it_is_the_surrogate_bit_for_bit(history: int, bundle: int) -> None:
    made = network(history, bundle, constraint=ConservedIntegral(FIELDS, "T"), correct_sampling=True)
    step, c = Assimilation(made, readings(100.0)), conditions(3)
    assert isinstance(step, Step)
    before, noise = past(3, history, torch.float32), seeded(torch.arange(3))
    with torch.no_grad():
        for a, b in zip(rollout(step, before, 4, c.after, noise), rollout(made, before, 4, c.after, noise), strict=True):
            assert torch.equal(a, b)
        assert torch.equal(step(step.begin(before, c), c)[0], made(made.begin(before, c), c)[0])


@pytest.mark.parametrize("guidance", [None, EndPoint(), PosteriorSampling(0.01)], ids=["moments", "end", "dps"])
@pytest.mark.parametrize("evidence", [readings(100.0), readings(DT, 3 * DT)], ids=["silent", "read"])
def test_it_obeys_the_laws_of_steps(evidence: Evidence, guidance: Any) -> None:
    with torch.no_grad():
        step_laws(Assimilation(network(), evidence, guidance), past(3, 2, torch.float32), conditions(3), seeded, rounding=5e-5)


def test_frames_before_the_evidence_are_the_surrogate_s() -> None:
    made, c, before = network(), conditions(2), past(2, 2, torch.float32)
    step = Assimilation(made, readings(3 * DT))
    with torch.no_grad():
        ours, theirs = (list(rollout(s, before, 4, c.after, seeded(torch.arange(2)))) for s in (step, made))
    assert [torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)] == [True, True, False, False]


def test_a_constraint_still_holds() -> None:
    made = network(constraint=ConservedIntegral(FIELDS, "T"))
    step, before, c = Assimilation(made, readings(DT)), past(2, 2, torch.float32), conditions(2)
    with torch.no_grad():
        u, _ = step(step.begin(before, c), c, seeded(torch.arange(2)))
    torch.testing.assert_close(BOX.integral(u[:, 0])[:, 1], BOX.integral(before[:, -1])[:, 1], rtol=1e-7, atol=0)


def test_rows_have_readings_at_their_own_times() -> None:
    """A row whose time has none is the surrogate's up to rounding, beside one that has."""
    made, before, noise = network(), past(2, 2, torch.float32), seeded(torch.arange(2))
    c = conditions(2)
    late = Conditions(c.domain, torch.tensor([0.0, 10.0], **F64), c.dt, c.parameters)
    step = Assimilation(made, readings(10.0 + DT))
    with torch.no_grad():
        u, _ = step(step.begin(before, late), late, noise)
        free, _ = made(made.begin(before, late), late, noise)
    torch.testing.assert_close(u[0], free[0], rtol=1e-6, atol=1e-4)
    assert (u[1] - free[1]).abs().max() > 0.1


# -- other evidence --------------------------------------------------------------------------------------------------


class Still(nn.Module):
    """Expects nothing, whatever it sees: the exact velocity of N(0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.oracle = GaussianVelocity((0.0,), ((1.0,),))

    def forward(self, x: Tensor, domain: Any, embedding: Tensor | None = None) -> Tensor:
        return self.oracle(x, domain, embedding)


def test_the_equation_guides_a_surrogate_that_does_not_know_it() -> None:
    box, dt = Box.periodic((16,), 6.283185307179586), 0.05
    solver = Burgers(25, max_dt=0.05, viscosity=0.2)  # carries all modes of the data
    made = Surrogate(Fields.of(Field("u")), box, dt, refiner=FlowMatching(Still(), channels=1, sampler=heun, steps=8))
    x = box.coordinate(0)
    before = torch.stack([torch.sin(x), torch.cos(x) - 0.3 * torch.sin(2 * x)])[:, None, None]
    c = conditions(2, box, dt)
    step = Assimilation(made, Equation(solver, 0.2), MomentMatching(6), floor=TIGHT)
    sizes = []
    for s in (made, step):
        with torch.no_grad():
            u, _ = s(s.begin(before, c), c, seeded(torch.arange(2)))
        sizes.append(residual(solver, before[:, 0], u[:, 0], c).square().mean().sqrt())
    assert sizes[1] < 0.5 and sizes[0] > 10
    both = Assimilation(made, Both((Equation(solver, 0.2), readings_of(box))), MomentMatching(6), floor=TIGHT)
    with torch.no_grad():
        v, _ = both(both.begin(before, c), c, seeded(torch.arange(2)))
    assert (v[:, 0, 0, 4] - 0.9).abs().max() < (u[:, 0, 0, 4] - 0.9).abs().max()


def readings_of(box: Box) -> Observed:
    return Observed(lambda time: Observation(Sensors.points(box, [4], 0, 0.01), torch.tensor([0.9])))


# -- users and costs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [1, 5])
def test_three_lines_of_user_code(members: int) -> None:
    surrogate = network()
    initial = to_xarray(past(1, 2), FIELDS, BOX, time=[-DT, 0.0], trajectories=[3], attrs={"dt": DT})
    times, values = [DT, 2 * DT], torch.tensor([[292.0, 0.3], [293.0, 0.1]])

    sensors = Sensors.at(BOX, [[0.25], [1.3]], channels=[1, 0], error=0.01)
    step = Assimilation(surrogate, Observed(Series(sensors, times, values)))
    analysis = simulate(step, initial, frames=3, members=members, group=2)

    free = simulate(surrogate, initial, frames=3, members=members, group=2)
    misses = [abs(float(x["T"].sel(x=0.25).isel(time=0).mean()) - 292.0) for x in (analysis, free)]
    assert analysis["u"].shape == free["u"].shape and bool((analysis["failed_step"] == -1).all())
    assert misses[0] < 0.3 * misses[1]


def test_costs_are_counted() -> None:
    made = network()
    calls = [0]
    made.refiner.operator.register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))  # type: ignore[union-attr]
    step, c = Assimilation(made, readings(DT), MomentMatching(3)), conditions(2)
    with torch.no_grad():
        step(step.begin(past(2, 2, torch.float32), c), c, seeded(torch.arange(2)))
    assert calls[0] == step.evaluations - 1 == 4 and step.pullbacks == 9  # Heun's three, and one for the covariance at s = 1
    assert made.evaluations == 4


@pytest.mark.parametrize("hours", [1.0, 1e6])
def test_readings_are_found_by_their_own_spacing(hours: float) -> None:
    """Times in seconds since long ago carry errors of their own size."""
    series = Series(SENSORS, [hours * 0.1, hours * 0.2, hours * 0.3], torch.ones(3, 1))
    found = lambda t: series(torch.tensor([t], dtype=torch.float64)) is not None  # noqa: E731
    assert found(hours * 0.2 * (1 + 1e-9)) and not found(hours * 0.25) and not found(hours * 0.2006)
    assert Series(SENSORS, [hours], torch.ones(1, 1))(torch.tensor([hours * (1 + 1e-8)], dtype=torch.float64)) is not None


def test_what_is_refused() -> None:
    guess = Surrogate(FIELDS, BOX, DT, operator=FNO(2, 2, 0, width=8, modes=(3,), layers=1))
    with pytest.raises(TypeError, match="NoneType has none; weigh its samples instead"):
        Assimilation(guess, readings(DT))
    step, c = Assimilation(network(), readings(DT)), conditions(2)
    with pytest.raises(ValueError, match="there is no noise to sample from"):
        step(step.begin(past(2, 2), c), c)
    with pytest.raises(ValueError, match="2 times but values of shape"):
        Series(SENSORS, [0.0, 1.0], torch.ones(3, 2))
    for error in (0.0, -1.0):
        with pytest.raises(ValueError, match="a standard deviation is positive"):
            Equation(Burgers(max_dt=0.1), error)
