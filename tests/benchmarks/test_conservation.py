"""Long runs with and without laws: budgets on exact flows, one command from nothing to the picture, resumed; the porous-medium front."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
import yaml

HERE = Path(__file__).parents[2] / "benchmarks"
sys.path[:0] = [str(HERE / name) for name in ("conservation", "speed")]

import long  # noqa: E402
import physics  # noqa: E402
import porous  # noqa: E402

from surrogates.contracts import Conditions  # noqa: E402
from surrogates.domains import Box, Sphere  # noqa: E402

F64 = {"dtype": torch.float64}


def conditions(domain: Box | Sphere, **parameters: float) -> Conditions:
    values = torch.tensor([list(parameters.values())], **F64)
    return Conditions(domain, torch.zeros(1, **F64), torch.ones(1, **F64), values, tuple(parameters))


def test_the_laminar_flow_is_in_balance_and_a_wrong_one_is_not() -> None:
    box, nu, mu, k = Box.periodic((16, 24), 2 * math.pi), 0.1, 0.2, 3
    c = conditions(box, viscosity=nu, drag=mu, forcing=1.0, wavenumber=float(k))
    y = box.grid()[1]
    u = torch.stack([torch.sin(k * y) / (nu * k**2 + mu), torch.zeros_like(y)])[None, None].double()
    found = physics.kolmogorov(u, c)
    assert abs(float(found["imbalance"])) < 1e-14 and float(found["divergence"]) < 1e-14
    assert float(found["energy"]) == pytest.approx(1 / (4 * (nu * k**2 + mu) ** 2))
    assert float(physics.kolmogorov(1.1 * u, c)["imbalance"]) == pytest.approx(1.1 * (1 - 1.1) / (2 * (nu * k**2 + mu)))
    assert found["spectrum"].sum() == pytest.approx(float(found["energy"]), rel=1e-12)


def test_a_mean_flow_that_decays_as_it_should_has_no_misfit() -> None:
    rate, dt = 0.3, 0.5
    decay = torch.exp(-rate * dt * torch.arange(9, **F64))[None]
    series = {"mean flow x": 2.0 * decay, "mean flow y": -decay}
    assert physics.mean_flow_misfit(series, rate, dt) < 1e-15
    assert physics.mean_flow_misfit({**series, "mean flow y": -decay + 0.1 * dt * torch.arange(9)}, 0.0, dt) > 0.1


def test_solid_rotation_has_its_momentum_and_mass() -> None:
    sphere = Sphere((24, 48), grid="legendre-gauss", radius=2.0)
    c = conditions(sphere, gravity=9.0, rotation=0.5)
    arm = 2.0 * torch.cos(torch.deg2rad(sphere.coordinate(0).double()))[:, None].expand(24, 48)
    u = torch.stack([torch.full_like(arm, 3.0), torch.zeros_like(arm), 0.25 * arm])[None, None]
    found = physics.shallow_water(u, c)
    assert float(found["mass"]) == pytest.approx(3.0)
    assert float(found["momentum"]) == pytest.approx(3.0 * 0.75 * 4.0 * 2 / 3)  # mean of cos^2 is 2/3
    assert float(found["kinetic energy"]) == pytest.approx(3.0 * 0.25**2 * 4.0 * 2 / 3 / 2)


def test_distances_between_laws_of_one_number() -> None:
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0), **F64)
    assert physics.wasserstein(x, x) == 0
    assert physics.wasserstein(x + 0.5, x) == pytest.approx(0.5, rel=0.02)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    laws = [{"class": "DivergenceFree", "field": "velocity"}, {"class": "ConservedIntegral", "field": "velocity", "decay": "drag"}]
    entry = {
        "data": {"dataset": "kolmogorov2d", "size": "tiny"},
        "frames": 12,
        "discard": 2,
        "trajectories": 2,
        "group": 2,
        "model": {"operator": {"class": "FNO", "width": 4, "modes": [4, 3], "layers": 1}, "optimiser": {"warmup": 1}},
        "batch": 4,
        "bundle": 1,
        "steps": 2,
        "laws": laws,
        "trained": {"free": []},
        "rollouts": {"no laws": {"weights": "free", "laws": []}, "laws": {"weights": "free", "laws": laws}},
        "solver": {"class": "Kolmogorov", "resolution": [16, 16], "max_dt": 0.1},
    }
    path = tmp_path / "long.yaml"
    path.write_text(yaml.safe_dump({"kolmogorov": entry}))
    return path


def test_one_command_makes_the_table_and_goes_on(suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["long.py", "--suite", str(suite), "--out", str(out), "--no-costs"])
    assert long.main() == 0
    result = json.loads((out / "kolmogorov.json").read_text())
    free, held = result["rows"]["no laws"], result["rows"]["laws"]
    assert held["divergence"] < 1e-6 < free["divergence"] and held["mean flow"] < 1e-6 < free["mean flow"]
    assert result["rows"]["solver"]["failed"] == 0 and (out / "kolmogorov.png").stat().st_size > 10_000
    assert "| laws |" in (out / "kolmogorov.md").read_text()
    series = sorted((out / "series").rglob("*.npz"))
    before = [f.stat().st_mtime_ns for f in series]
    assert long.main() == 0 and [f.stat().st_mtime_ns for f in series] == before


def test_what_is_wrong_in_a_suite_is_named(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = yaml.safe_load(suite.read_text())
    entry["kolmogorov"]["rollouts"]["laws"]["weights"] = "bound"
    suite.write_text(yaml.safe_dump(entry))
    monkeypatch.setattr(sys, "argv", ["long.py", "--suite", str(suite), "--out", str(tmp_path / "out")])
    assert long.main() == 2 and "no weights 'bound'; `trained` has ['free']" in capsys.readouterr().err


def test_the_front_of_the_porous_medium() -> None:
    """u_t = (u^m u_x)_x by differences on both sides of nothing but the front; its mass by fine quadrature."""
    t, m = torch.tensor(0.5, **F64), torch.tensor([[1.0], [2.5], [6.0]], **F64)
    x, h = torch.linspace(0.05, 0.4, 8, **F64)[None], 1e-4
    u = lambda dt, dx: porous.exact(t + dt, x + dx, m)  # noqa: E731
    flux = lambda dx: ((u(0, dx + h / 2) + u(0, dx - h / 2)) / 2) ** m * (u(0, dx + h / 2) - u(0, dx - h / 2)) / h  # noqa: E731
    torch.testing.assert_close((u(h, 0) - u(-h, 0)) / (2 * h), (flux(h / 2) - flux(-h / 2)) / h, rtol=1e-4, atol=0)
    fine = (torch.arange(2_000_000, **F64) + 0.5)[None] / 2_000_000
    torch.testing.assert_close(porous.exact(t, fine, m).mean(1, keepdim=True), porous.mass(0.5, m), rtol=1e-6, atol=0)


def test_what_is_known_of_the_mass_corrects_the_forecast() -> None:
    mean, std, truth, m = porous.forecasts(porous.AttentiveProcess().eval())
    mean = mean + 0.5 * torch.sin(8 * math.pi * porous.BOX.coordinate(0))  # so that there is something to be bounded
    found = porous.scores(porous.corrected(mean, std, m), truth, m)
    assert found["network alone"]["mass error"] > 1e-3 > 1e-12 > found["variance-weighted"]["mass error"]
    assert found["variance-weighted, then u >= 0"]["least value"] == 0 > found["variance-weighted"]["least value"]
    assert found["variance-weighted, then u >= 0"]["mass error"] < 1e-12
    assert found["truth on these cells"]["mass error"] < 1e-3
