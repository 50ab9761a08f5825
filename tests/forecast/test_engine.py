"""The engine adds nothing to the step: same frames for any grouping, chunking or sink, and the errors come before the work."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from forecast.steps import Clock, Draws, Grows, Rotates, Threes, U, Walk, initial
from torch import Tensor, nn

from surrogates import Surrogate, simulate
from surrogates.contracts import Conditions
from surrogates.domains import Box, Mesh, Sphere
from surrogates.domains.layout import same
from surrogates.fields import Field, Fields
from surrogates.interchange import domain_of, fields_of, to_xarray
from surrogates.noise import SeededNoise
from surrogates.rollout import rollout

SPHERE = Sphere((4, 6), north_first=False)
MESH = Mesh.from_cells([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1, 2], [0, 2, 3]])


def test_a_forecast_is_the_rollout_of_its_step() -> None:
    start = initial(2)
    forecast = simulate(Walk(), start, 5, members=2, seed=3)
    box, ones = domain_of(start), torch.ones(4, dtype=torch.float64)
    conditions = Conditions(box, 2 * ones, 0.5 * ones, torch.zeros(4, 0, dtype=torch.float64))
    past = torch.from_numpy(start["u"].values).repeat_interleave(2, 0)[:, :, None]
    frames = rollout(Walk(), past, 5, conditions.after, SeededNoise(3, [10, 10, 11, 11], [0, 1, 0, 1]))
    want = torch.stack(list(frames), 1)[:, :, 0].reshape(2, 2, 5, 8)
    assert torch.equal(torch.from_numpy(forecast["u"].values), want)


@pytest.mark.parametrize("group", [1, 2, 4, 100])
def test_grouping_does_not_change_what_is_drawn(group: int) -> None:
    one = simulate(Draws(), initial(), 4, members=3, seed=5)
    other = simulate(Draws(), initial(), 4, members=3, seed=5, group=group, chunk=3)
    assert np.array_equal(one["u"].values, other["u"].values)
    assert abs(float(one["u"].std()) - 1) < 0.1


def test_order_of_trajectories_does_not_change_what_is_drawn() -> None:
    start = initial()
    one = simulate(Draws(), start, 3, members=2, seed=5)
    turned = simulate(Draws(), start.isel(trajectory=[2, 0, 1]), 3, members=2, seed=5)
    alone = simulate(Draws(), start.isel(trajectory=[1]), 3, members=2, seed=5)
    assert np.array_equal(turned["u"].values, one["u"].values[[2, 0, 1]])
    assert np.array_equal(alone["u"].values[0], one["u"].values[1])


def test_more_members_begin_with_the_same_ones_and_another_seed_with_others() -> None:
    few, many = (simulate(Draws(), initial(), 2, members=m, seed=1)["u"] for m in (2, 5))
    assert np.array_equal(few.values, many.values[:, :2])
    assert not np.array_equal(few.values, simulate(Draws(), initial(), 2, members=2, seed=2)["u"].values)


def test_deterministic_passes_no_noise() -> None:
    start = initial(1)
    forecast = simulate(Walk(), start, 2, deterministic=True)
    assert "member" not in forecast.dims
    assert torch.equal(torch.from_numpy(forecast["u"].values[0, 1]), torch.from_numpy(start["u"].values[0, 0]).sin().sin())


def test_conditions_move_with_the_frames() -> None:
    start = initial(dt=0.25)
    forecast = simulate(Clock(), start, 4)
    assert np.array_equal(forecast["u"].values, np.broadcast_to(forecast["time"].values[None, :, None], (3, 4, 8)))
    assert np.allclose(forecast["lead_time"], 0.25 * np.arange(1, 5))


@pytest.mark.parametrize("frames", [1, 3, 7])
def test_a_bundle_is_cut_to_the_frames_asked_for(frames: int) -> None:
    one = simulate(Walk(), initial(), frames, members=2)
    three = simulate(Threes(), initial(), frames, members=2, chunk=2)
    assert three.sizes["time"] == frames
    assert np.array_equal(one["u"].values, three["u"].values)


def test_history_is_taken_from_the_end_of_what_is_given() -> None:
    class Remembers(Walk):
        history = 2

        def begin(self, past: Tensor, conditions: Conditions):  # type: ignore[no-untyped-def]
            return {"u": past[:, 0] + 10 * past[:, 1], "step": torch.zeros((), dtype=torch.int64)}

        def frame(self, u: Tensor, *rest: object) -> Tensor:
            return u

    given = initial(1, frames=4)
    given["u"].values[:] = np.arange(4)[None, :, None]
    assert np.unique(simulate(Remembers(), given, 1)["u"]) == [2 + 10 * 3]


def test_a_complex_state_follows_its_exact_solution() -> None:
    start = initial(dt=0.1)
    forecast = simulate(Rotates(), start, 20)
    want = start["u"].values * np.cos(forecast["lead_time"].values)[None, :, None]
    assert np.abs(forecast["u"].values - want).max() < 1e-6


# -- what comes out ------------------------------------------------------------------------------------------------


def test_a_forecast_names_itself() -> None:
    start = initial(growth=[1.0, 1.1, 1.2]).assign_attrs(dataset="walks", split="test", lyapunov_time=2.0, scored_time=9.0)
    forecast = simulate(Walk(), start.isel(time=-1), 3, members=2, seed=7, group=4)
    assert forecast["u"].dims == ("trajectory", "member", "time", "x")
    assert forecast["u"].attrs["units"] == "m s-1"
    assert forecast["member"].attrs["standard_name"] == "realization"
    assert forecast["trajectory"].attrs["cf_role"] == "trajectory_id"
    assert forecast["time"].attrs["axis"] == "T" and forecast["x"].attrs["axis"] == "X"
    assert forecast.attrs["Conventions"].startswith("CF-")
    assert {k: forecast.attrs[k] for k in ("dataset", "split", "lyapunov_time", "scored_time", "seed", "group", "dt", "step")} == {
        "dataset": "walks", "split": "test", "lyapunov_time": 2.0, "scored_time": 9.0, "seed": 7, "group": 4, "dt": 0.5, "step": "Walk"
    }  # fmt: skip
    assert np.allclose(forecast["time"], [2.5, 3, 3.5]) and np.allclose(forecast["lead_time"], [0.5, 1, 1.5])
    assert forecast["growth"].attrs["role"] == "parameter"
    assert fields_of(forecast) == U and domain_of(forecast) == domain_of(start)


def test_a_forecast_is_an_initial_state_again() -> None:
    whole = simulate(Walk(), initial(), 6)
    first = simulate(Walk(), initial(), 2)
    rest = simulate(Walk(), first, 4)
    assert np.array_equal(rest["time"], whole["time"][2:])
    deterministic = [simulate(Walk(), s, n, deterministic=True) for s, n in ((initial(), 6), (initial(), 2))]
    then = simulate(Walk(), deterministic[1], 4, deterministic=True)
    assert np.array_equal(then["u"].values, deterministic[0]["u"].values[:, 2:])


# -- blow-up -------------------------------------------------------------------------------------------------------


def test_a_member_that_blows_up_stops_and_the_others_go_on() -> None:
    growth = [1.0, 3.0, 1.0]
    sane = simulate(Grows(), initial(growth=[1.0] * 3), 12, members=2, chunk=4)
    forecast = simulate(Grows(), initial(growth=growth), 12, members=2, chunk=4, group=3)
    made = 4  # 3^4 = 81 times the initial amplitude, 3^5 = 243 is beyond 100
    assert forecast["failed_step"].values.tolist() == [[-1, -1], [made, made], [-1, -1]]
    meanings = forecast["failed_reason"].attrs["flag_meanings"].split()
    assert meanings[int(forecast["failed_reason"][1, 0])].startswith("amplitude")
    assert np.isfinite(forecast["u"].values[1, :, :made]).all() and np.isnan(forecast["u"].values[1, :, made:]).all()
    assert np.array_equal(forecast["u"].values[[0, 2]], sane["u"].values[[0, 2]])


def test_a_value_that_is_not_finite_is_a_failure_with_its_reason() -> None:
    forecast = simulate(Grows(), initial(growth=[1.0, float("inf"), 1.0]), 3)
    assert forecast["failed_step"].values.tolist() == [-1, 0, -1]
    assert forecast["failed_reason"].attrs["flag_meanings"].split()[int(forecast["failed_reason"][1])] == "not_finite"
    assert np.isnan(forecast["u"].values[1]).all()


def test_one_that_failed_stays_failed() -> None:
    class Bounces(Walk):
        def frame(self, u: Tensor, n: int, conditions: Conditions, noise: object) -> Tensor:
            factor = conditions.parameter("growth").to(u.dtype) ** (1 if n == 1 else -1 if n == 2 else 0)
            return u * factor[:, None, None]

    forecast = simulate(Bounces(), initial(growth=[1.0, 1000.0, 1.0]), 5, chunk=1)
    assert forecast["failed_step"].values.tolist() == [-1, 1, -1]
    assert np.isnan(forecast["u"].values[1, 1:]).all() and np.isfinite(forecast["u"].values[[0, 2]]).all()


# -- errors before any work ----------------------------------------------------------------------------------------


def test_what_is_not_finite_is_found_where_it_lies() -> None:
    start = initial(frames=2)
    start["u"].values[1, 0, 3] = np.nan
    with pytest.raises(ValueError, match=r"not finite: trajectory 11, time index 0, channel u"):
        simulate(Walk(), start, 1)


def test_wrong_channels_units_and_history_are_named() -> None:
    with pytest.raises(ValueError, match=r"lacks 'v'"):
        simulate(_with_inputs(Fields.of(Field("v"))), initial(), 1)
    with pytest.raises(ValueError, match=r"units 'm s-1' but 'km h-1'"):
        simulate(_with_inputs(Fields.of(Field("u", units="km h-1"))), initial(), 1)
    step = Walk()
    step.history = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="3 frames of history but the initial state has 2"):
        simulate(step, initial(frames=2), 1)


def test_members_of_the_initial_state_go_on_each_from_its_own() -> None:
    ensemble = simulate(Walk(), initial(), 1, members=2)
    rest = simulate(Walk(), ensemble, 2, deterministic=True)
    assert np.array_equal(rest["u"].values[:, :, 0], torch.from_numpy(ensemble["u"].values[:, :, 0]).sin().numpy())
    with pytest.raises(ValueError, match="has 2 members but 3 were asked for"):
        simulate(Walk(), ensemble, 1, members=3)


def test_sizes_below_one_are_refused() -> None:
    for wrong in ({"frames": 0}, {"frames": 1, "members": 0}, {"frames": 1, "group": 0}, {"frames": 1, "chunk": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            simulate(Walk(), initial(), **wrong)  # type: ignore[arg-type]


def test_a_dt_that_a_surrogate_was_not_trained_on_is_refused() -> None:
    class Zero(nn.Module):
        def forward(self, x: Tensor, domain: Box, embedding: Tensor | None = None) -> Tensor:
            return torch.zeros_like(x)

    start = initial()
    surrogate = Surrogate(U, domain_of(start), 0.5, operator=Zero())
    persisted = simulate(surrogate, start, 2)
    assert np.array_equal(persisted["u"].values, start["u"].values.repeat(2, 1))
    with pytest.raises(ValueError, match=r"steps by dt=0\.5 but was asked for \[0\.25\]"):
        simulate(surrogate, initial(dt=0.25), 2)
    with pytest.raises(ValueError, match="no attribute 'dt'"):
        simulate(surrogate, _without(start, "dt"), 2)


def _with_inputs(fields: Fields) -> Walk:
    step = Walk()
    step.inputs = step.outputs = fields  # type: ignore[misc]
    return step


def _without(dataset: xr.Dataset, key: str) -> xr.Dataset:
    return xr.Dataset(dataset.data_vars, dataset.coords, {k: v for k, v in dataset.attrs.items() if k != key})


# -- other domains -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", [pytest.param(SPHERE, id="sphere"), pytest.param(MESH, id="mesh")])
def test_a_forecast_on_a_sphere_or_a_mesh_resumes_on_it(tmp_path: Path, domain: Sphere | Mesh) -> None:
    u = torch.linspace(-1, 1, 2 * prod(domain.shape)).reshape(2, 1, 1, *domain.shape)
    start = to_xarray(u, U, domain, time=[0.0], trajectories=[0, 1], attrs={"dt": 1.0})
    held = simulate(Walk(), start, 5, members=2, seed=3)
    streamed = simulate(Walk(), start, 5, members=2, seed=3, out=tmp_path / "f", chunk=2)
    assert same(domain_of(streamed), domain) and streamed["u"].dims == held["u"].dims
    assert np.array_equal(streamed["u"].values, held["u"].values)
    alone = simulate(Walk(), start.isel(trajectory=[1]), 5, members=2, seed=3)
    assert np.array_equal(alone["u"].values[0], held["u"].values[1])
