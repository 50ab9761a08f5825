"""The switch: which laws a step runs under, by name; shared weights, another fingerprint; and the defects of what was rolled out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from surrogates.constraints import (
    Alternating,
    Clipped,
    ConservedIntegral,
    EnergyBand,
    Function,
    GaussNewton,
    InOrder,
    StraightThrough,
    constrained,
)
from surrogates.constraints.report import defects
from surrogates.contracts import Conditions, Constraint, Domain
from surrogates.deep_ensemble import DeepEnsemble
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.forecast import simulate
from surrogates.forecast.commands import rollout
from surrogates.identity import identity, portrait
from surrogates.interchange import to_xarray
from surrogates.metrics.laws import LawDefects
from surrogates.operators import ConvNet
from surrogates.pde import Persistence
from surrogates.saved import load, save
from surrogates.surrogate import Surrogate

FIELDS = Fields.of(Field("dye"), Field("heat", "K"))
BOX = Box.periodic((8,), 2.0)
LAW = InOrder((ConservedIntegral(FIELDS, "dye"), ConservedIntegral(FIELDS, "heat"), StraightThrough(Clipped(FIELDS, "heat", lower=-50.0))))
DYE, HEAT, CLIPPED = "ConservedIntegral-dye", "ConservedIntegral-heat", "Clipped-heat"


def surrogate(constraint: Constraint | None = LAW, seed: int = 0) -> Surrogate:
    torch.manual_seed(seed)
    return Surrogate(FIELDS, BOX, 0.5, operator=ConvNet(2, 2, 0, dim=1, width=4, layers=1), constraint=constraint).eval()


def initial(rows: int = 2) -> xr.Dataset:
    u = torch.randn(rows, 1, 2, 8, generator=torch.Generator().manual_seed(1)) + 1
    return to_xarray(u, FIELDS, BOX, time=[3.0], trajectories=range(rows), attrs={"dt": 0.5})


def test_names_are_those_of_the_laws() -> None:
    assert LAW.names == (DYE, HEAT, CLIPPED)


def test_none_some_and_all() -> None:
    model = surrogate()
    assert constrained(model, "all") is model
    assert constrained(model, "none").constraint is None
    one, two = (constrained(model, choice).constraint for choice in (DYE, "conservedintegral"))
    assert one is LAW.laws[0] and isinstance(two, InOrder) and two.names == (DYE, HEAT)
    assert constrained(surrogate(LAW.laws[0]), DYE).constraint is LAW.laws[0]
    swept = surrogate(Alternating(LAW.laws, sweeps=7))
    chosen = constrained(swept, f"{DYE}, {CLIPPED}").constraint
    assert isinstance(chosen, Alternating) and (chosen.names, chosen.sweeps) == ((DYE, CLIPPED), 7)


def test_weights_are_shared_and_the_fingerprint_differs() -> None:
    model = surrogate()
    bare = model.with_constraint(None)
    assert bare.operator is model.operator and model.constraint is LAW and not bare.training
    prints = [identity(m) for m in (model, bare, constrained(model, DYE))]
    assert len({str(p["step"]) for p in prints}) == 3 and len({p["weights"] for p in prints}) == 1


class Own:
    """A law that cannot be written down."""

    references = 0

    def reference(self, u: Tensor, conditions: Conditions) -> Tensor:
        return torch.zeros(len(u), 0, dtype=torch.float64)

    def advance(self, reference: Tensor, u: Tensor, conditions: Conditions) -> Tensor:
        return reference

    def defect(self, u: Tensor, reference: Tensor, conditions: Conditions) -> Tensor:
        return u.double().flatten(1).mean(1, keepdim=True)

    def __call__(self, u: Tensor, reference: Tensor, conditions: Conditions, past: Tensor | None = None) -> Tensor:
        return u


def test_the_fingerprint_knows_of_laws_that_cannot_be_written_down() -> None:
    model = surrogate(Own())
    assert identity(model)["step"] != identity(model.with_constraint(None))["step"]


def test_an_ensemble_and_a_solver_take_the_switch() -> None:
    ensemble = DeepEnsemble([surrogate(seed=k) for k in range(2)])
    bare = constrained(ensemble, "none")
    assert all(s.constraint is None for s in bare.surrogates) and bare.constraint is None  # type: ignore[union-attr]
    assert all(a.operator is b.operator for a, b in zip(ensemble.surrogates, bare.surrogates, strict=True))  # type: ignore[union-attr]
    solver = Persistence(FIELDS)
    assert constrained(solver, "none") is solver
    with pytest.raises(ValueError, match="it has no laws"):
        constrained(solver, DYE)


def test_a_trained_step_whose_laws_cannot_be_switched_says_so() -> None:
    class Inside(nn.Module):
        inputs = outputs = FIELDS
        history = bundle = 1

        def begin(self, past: Tensor, conditions: Conditions) -> dict[str, Tensor]:
            return {}

        def forward(self, state: object, conditions: Conditions, noise: object = None) -> None: ...

    with pytest.raises(TypeError, match="Inside has no switch"):
        constrained(Inside(), "none")  # type: ignore[type-var]


def test_other_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'ConservedIntegral'"):
        constrained(surrogate(), "ConservedIntegrals")


class Drift(nn.Module):
    """An operator whose tendency adds to both fields."""

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        return torch.ones_like(x[:, -2:])


def test_the_report_tells_laws_that_were_held_from_those_that_were_not() -> None:
    torch.manual_seed(0)
    model = Surrogate(FIELDS, BOX, 0.5, operator=Drift(), constraint=LAW).eval()
    start = initial()
    held, dropped = (simulate(m, start, 4, members=2) for m in (model, constrained(model, f"{DYE},{CLIPPED}")))
    left, other = (defects(f, LAW, start) for f in (held, dropped))
    assert list(left.data_vars) == [DYE, HEAT, CLIPPED] and dict(left.sizes) == {"trajectory": 2, "member": 2, "time": 4}
    assert float(max(left[n].max() for n in left.data_vars)) < 2e-7
    assert float(other[DYE].max()) < 2e-7 and (other[HEAT].diff("time") > 0).all() and float(other[HEAT].min()) > 0.1
    assert other["lead_time"].values.tolist() == [0.5, 1.0, 1.5, 2.0]
    every = defects(dropped.isel(time=[1, 3]), LAW, start)
    xr.testing.assert_allclose(every[HEAT], other[HEAT].isel(time=[1, 3]))
    with pytest.raises(ValueError, match="pass it as `initial`"):
        defects(dropped, LAW)
    with pytest.raises(ValueError, match="select the same"):
        defects(dropped, LAW, start.isel(trajectory=[0]))
    assert float(defects(simulate(model, start, 2), Clipped(FIELDS, "dye", lower=100.0))["Clipped-dye"].min()) > 0.1


def test_the_metric_counts_against_the_budget_of_the_truth() -> None:
    truth = torch.randn(2, 3, 2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    prediction = truth[:, None].repeat(1, 2, 1, 1, 1)
    prediction[:, :, 2, 0] += 1.0
    prediction[1, 0, 1] = torch.nan
    one = torch.ones(2, dtype=torch.float64)
    metric = LawDefects(LAW)
    values = metric.value(metric.statistics(prediction, truth, BOX, Conditions(BOX, one, one, torch.zeros(2, 0))))
    assert set(values) == set(metric.quantities)
    assert values[f"defect_{DYE}"][0, :2].max() < 1e-15 and values[f"defect_{DYE}"][:, 2].min() > 0.1
    assert values[f"defect_{HEAT}"][1, 1] == float("inf") and values[f"defect_{HEAT}_truth"].max() < 1e-15


def test_the_command_runs_without_laws_into_another_folder(tmp_path: Path) -> None:
    save(surrogate(), tmp_path / "model")
    simulate(load(tmp_path / "model"), initial(), 2, out=tmp_path / "first.zarr")
    given = {"surrogate": str(tmp_path / "model"), "dataset": str(tmp_path / "first.zarr"), "frames": 2}
    rollout(**given, out=str(tmp_path / "with.zarr"))  # type: ignore[arg-type]
    rollout(**given, out=str(tmp_path / "without.zarr"), constraints="none")  # type: ignore[arg-type]
    means = {n: xr.open_zarr(tmp_path / f"{n}.zarr", consolidated=False)["dye"].mean("x").values for n in ("with", "without")}
    start = initial()["dye"].mean("x").values
    assert abs(means["with"] - start).max() < 1e-6 < 1e-3 < abs(means["without"] - start).max()
    with pytest.raises(FileExistsError, match="another run"):
        rollout(**given, out=str(tmp_path / "with.zarr"), constraints="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no law 'mass'"):
        rollout(**given, out=str(tmp_path / "x.zarr"), constraints="mass")  # type: ignore[arg-type]


def test_the_fingerprint_tells_every_law_beside_one_that_cannot_be_written_down() -> None:
    def one(factor: float, upper: float = 1.0, power: int = 1) -> str:
        newton = GaussNewton(
            FIELDS, (Function(lambda u, conditions: factor * u[:, :1].flatten(1).mean(1, keepdim=True) ** power),), move=("dye",)
        )
        return json.dumps(identity(surrogate(InOrder((EnergyBand(FIELDS, "dye", upper=upper), newton))))["step"])

    assert one(1.0) == one(1.0)
    assert len({one(1.0), one(2.0), one(1.0, upper=5.0), one(1.0, power=2)}) == 4
    sine, cosine = (Function(f) for f in (lambda u, c: u.sin(), lambda u, c: u.cos()))
    assert portrait(sine) != portrait(cosine)


def test_portraits_are_the_same_in_every_process() -> None:
    script = (
        "from surrogates.identity import portrait\n"
        "f = lambda u: [v for v in (lambda w: w + 1, {1: 2}) if v in {'a', 'b', 'c'}]\n"
        "print(portrait({'f': f}))"
    )
    environments = ({**os.environ, "PYTHONHASHSEED": seed} for seed in ("1", "2"))
    first, second = (subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=e) for e in environments)
    assert first.returncode == 0 and "code" in first.stdout and first.stdout == second.stdout


def test_laws_inside_others_are_named_and_stay_as_they_were() -> None:
    dye, heat, clipped = LAW.laws
    nested = surrogate(InOrder((dye, Alternating((heat, clipped), sweeps=7))))
    assert constrained(nested, HEAT).constraint is heat
    assert constrained(nested, "clipped").constraint is clipped is constrained(surrogate(), "Clipped").constraint
    assert constrained(nested, f"Alternating/{CLIPPED}").constraint is clipped
    both = constrained(nested, f"{DYE},{HEAT}").constraint
    assert isinstance(both, InOrder) and both.laws == (dye, heat)
    through = constrained(surrogate(StraightThrough(Alternating((dye, heat, clipped), sweeps=7))), f"{DYE},{HEAT}").constraint
    assert isinstance(through, StraightThrough) and isinstance(through.law, Alternating) and through.law.sweeps == 7
    assert constrained(nested, "All") is nested and constrained(nested, " None").constraint is None
    with pytest.raises(ValueError, match="no law 'Heats'"):
        constrained(nested, "Heats")
