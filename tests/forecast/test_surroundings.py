"""Time goes by the dt of each frame, what is given is there when it is due, and perturbed parameters are held, paired and keyed by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from forecast.steps import U, Walk, initial
from torch import Tensor

from surrogates import simulate
from surrogates.contracts import Conditions, Domain, Noise
from surrogates.data.series import Series
from surrogates.domains import Box
from surrogates.forecast.perturbations import Members
from surrogates.forecast.surroundings import Given, PerturbedParameters, Surroundings, frame_times
from surrogates.noise import SeededNoise
from surrogates.pde import Burgers
from surrogates.record import describe
from surrogates.rollout import rollout
from surrogates.surrogate import Surrogate

BOX = Box.periodic((16,), 2 * torch.pi)


def conditions(rows: int = 2, **parameters: float) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    table = torch.tensor([list(parameters.values())] * rows, dtype=torch.float64).reshape(rows, -1)
    return Conditions(BOX, 1 * ones, 0.5 * ones, table, tuple(parameters))


def noise(rows: int = 2, members: list[int] | None = None) -> SeededNoise:
    return SeededNoise(0, [5] * rows if members else list(range(5, 5 + rows)), members or [0] * rows)


def test_without_anything_given_it_is_the_clock_of_the_conditions() -> None:
    given, c = Given(), conditions(a=1.0)
    begun = given.begin(c, noise())
    at = given.at(begun, 3)
    assert isinstance(given, Surroundings) and torch.equal(at.time, c.after(3).time) and torch.equal(at.parameters, c.parameters)
    assert torch.equal(frame_times(None, c, 3), frame_times(given, begun, 3))


@pytest.mark.parametrize("dt", [[0.1, 0.3, 0.2], lambda n: [0.1, 0.3, 0.2][n % 3]], ids=["sequence", "function"])
def test_time_is_the_sum_of_the_steps_before(dt: Any) -> None:
    given = Given(dt=dt)
    times = [float(given.at(conditions(), n).time[0]) for n in range(4)]
    assert times == pytest.approx([1.0, 1.1, 1.4, 1.6], abs=1e-12)
    assert [float(given.at(conditions(), n).dt[0]) for n in range(3)] == [0.1, 0.3, 0.2]
    assert frame_times(given, conditions(), 3).tolist() == pytest.approx([1.1, 1.4, 1.6])


def test_a_solver_goes_by_variable_steps_to_the_same_state() -> None:
    """Two frames of 0.3 end where six of 0.1 do, and where 0.1, 0.4, 0.1 do."""
    solver, u = Burgers(None, max_dt=0.01, dtype="float64"), BOX.grid()[0].sin()[None, None, None]
    ends = []
    for steps in ([0.3] * 2, [0.1] * 6, [0.1, 0.4, 0.1]):
        given = Given(dt=steps, parameters={"viscosity": 0.2})
        c = given.begin(conditions(1), noise(1))
        ends.append(list(rollout(solver, u, len(steps), lambda n, g=given, c=c: g.at(c, n)))[-1])  # type: ignore[misc]
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ends[2], ends[0], rtol=1e-9, atol=1e-9)


def test_a_surrogate_takes_a_dt_that_changes_only_where_it_is_conditioned_on_it() -> None:
    class Moves(torch.nn.Module):
        """du = ln(dt / 0.5), as the surrogate embeds it, and 1 without."""

        def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
            return torch.ones_like(x) if embedding is None else torch.ones_like(x) * embedding[:, :, None]

    operator, c, u = Moves(), conditions(1), torch.zeros(1, 1, 1, 16)
    given = Given(dt=[0.5, 0.25])
    frames = list(rollout(Surrogate(U, BOX, 0.5, operator=operator, parameters=("dt",)), u, 2, lambda n: given.at(c, n)))
    assert float(frames[0].mean()) == 0.0 and float(frames[1].mean()) == pytest.approx(-0.6931, abs=1e-4)
    with pytest.raises(ValueError, match=r"steps by dt=0.5 but was asked for \[0.25\]"):
        list(rollout(Surrogate(U, BOX, 0.5, operator=operator), u, 2, lambda n: given.at(c, n)))


def test_parameters_follow_time_and_may_be_added() -> None:
    given = Given(parameters={"a": lambda t: 2 * t, "b": 7.0})
    c = given.begin(conditions(a=1.0, c=3.0), noise())
    at = given.at(c, 4)
    assert at.names == ("a", "c", "b") and at.parameters[0].tolist() == [6.0, 3.0, 7.0]


def test_files_give_each_row_its_own_and_static_fields_too() -> None:
    times = np.array([0.0, 10.0])
    data = {
        "sun": (("trajectory", "time", "x"), np.arange(3.0)[:, None, None] * times[:, None] * np.ones(16)),
        "height": (("trajectory", "x"), np.arange(3.0)[:, None] * np.ones(16)),
    }
    source = xr.Dataset(data, {"time": times, "trajectory": [7, 6, 5]})
    given = Given(forcing=Series(source, ["sun"]), static=["height"], source=source)
    c = given.begin(conditions(), noise())  # trajectories 5 and 6
    assert c.static is not None and c.static[:, 0, 0].tolist() == [2.0, 1.0]
    at = given.at(c, 2)
    assert at.forcing is not None and at.forcing(at.time)[:, 0, 0].tolist() == [4.0, 2.0]
    last = at.rows(torch.tensor([1, 1, 1]))
    assert last.forcing is not None and last.forcing(last.time)[:, 0, 0].tolist() == [2.0] * 3  # rows of rows: an ensemble repeats them


@pytest.mark.parametrize("group", [1, 2, 4])
def test_static_rows_of_a_tensor_go_by_trajectory(group: int) -> None:
    class Rises(Walk):
        def frame(self, u: Tensor, n: int, conditions: Conditions, noise: Noise | None) -> Tensor:
            assert conditions.static is not None
            return 0 * u + conditions.static

    start = initial()
    ids = start["trajectory"].values.tolist()
    heights = torch.arange(float(len(ids))).reshape(-1, 1, 1).expand(-1, 1, 8)
    forecast = simulate(Rises(), start, 2, members=2, group=group, surroundings=Given(static=heights.flip(0), trajectories=ids[::-1]))
    assert forecast["u"].values[:, :, 0, 0].tolist() == [[float(n)] * 2 for n in range(len(ids))]


def test_perturbed_parameters_are_held_keyed_and_paired() -> None:
    perturbed = PerturbedParameters({"a": 0.2}, {"b": 1.0}, members=Members(paired=True))
    c = conditions(5, a=3.0, b=0.0, c=9.0)
    begun = perturbed.begin(c, noise(5, [0, 1, 2, 3, 4]))
    a, b = begun.parameter("a"), begun.parameter("b")
    assert (float(a[0]), float(b[0])) == (3.0, 0.0) and torch.equal(begun.parameter("c"), c.parameter("c"))
    torch.testing.assert_close(b[1], -b[2])
    torch.testing.assert_close(a[1] * a[2] / 9, torch.tensor(np.exp(-0.04)))
    assert torch.equal(perturbed.at(begun, 7).parameters, begun.parameters)
    alone = perturbed.begin(c.rows(torch.tensor([0])), noise(1, [3]))
    assert torch.equal(alone.parameters[0], begun.parameters[3])


def test_shares_keep_sign_and_mean() -> None:
    rows = 4000
    a = PerturbedParameters({"a": 0.5}).begin(conditions(rows, a=2.0), noise(rows, list(range(1, rows + 1)))).parameter("a")
    assert float(a.min()) > 0 and abs(float(a.mean()) / 2 - 1) < 4 * 0.53 / rows**0.5


def test_a_run_knows_its_surroundings() -> None:
    def ramp(t: torch.Tensor) -> torch.Tensor:
        return t

    one, same, other = (describe(PerturbedParameters({"a": 0.1}, inside=Given(parameters={"b": f}, dt=[1.0]))) for f in (ramp, ramp, 2.0))
    assert one == same != other
    assert describe(Given(static=torch.zeros(1, 1, 4))) != describe(Given(static=torch.ones(1, 1, 4)))


def test_bad_surroundings_are_named() -> None:
    with pytest.raises(ValueError, match="every dt must be positive"):
        Given(dt=[0.1, 0.0])
    with pytest.raises(ValueError, match="there are 1 steps dt but frame 3"):
        Given(dt=[0.1]).at(conditions(), 2)
    with pytest.raises(ValueError, match="no source to read them from"):
        Given(static=["height"])
    with pytest.raises(ValueError, match=r"no trajectories \[5, 6\]; they have \[0, 1, 2\]"):
        Given(static=torch.zeros(3, 1, 16)).begin(conditions(), noise())
    with pytest.raises(ValueError, match="3 rows but there are 2 trajectories"):
        Given(static=torch.zeros(3, 1, 16), trajectories=[5, 6])
    with pytest.raises(KeyError, match="parameter 'q'"):
        PerturbedParameters({"q": 0.1}).begin(conditions(), noise())
    with pytest.raises(ValueError, match="perturbed and prescribed"):
        PerturbedParameters({"a": 0.1}, inside=Given(parameters={"a": 1.0})).begin(conditions(a=1.0), noise(2, [1, 2]))
    with pytest.raises(ValueError, match="one deviation that is not negative"):
        PerturbedParameters({"a": 0.1}, {"a": 0.1})
