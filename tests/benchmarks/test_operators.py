"""The comparison of operators: exact solutions, the same windows for all, runs resumed, a rate chosen on validation, clear errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

HERE = Path(__file__).parents[2] / "benchmarks"
sys.path[:0] = [str(HERE / "operators"), str(HERE / "speed")]

import compare  # noqa: E402
import tasks  # noqa: E402
from advection import FiniteElements, Waves, assemble, periodic_mesh  # noqa: E402
from tasks import task_of  # noqa: E402
from train import Run, build, score, train  # noqa: E402

from surrogates.domains import Box  # noqa: E402
from surrogates.fields import Field, Fields  # noqa: E402
from surrogates.interchange import to_xarray  # noqa: E402

MESH = {
    "nodes": 64,
    "meshes": 2,
    "batch": 2,
    "leads": 6,
    "dt": 0.05,
    "viscosity": 5e-4,
    "test_nodes": [64, 100],
    "rows": 2,
    "substeps": [2],
}
NETWORK = {"class": "MeshGraphNet", "width": 8, "layers": 1}


def test_the_waves_solve_advection_and_diffusion() -> None:
    w = Waves.draw(3, 5, 0.02)
    h, x, t = 1e-3, torch.rand(7, 2, dtype=torch.float64), torch.full((3, 1), 0.7, dtype=torch.float64)

    def u(dx: float = 0.0, dy: float = 0.0, dt: float = 0.0) -> torch.Tensor:
        turn = (x + torch.tensor([dx, dy])) @ w.k.T
        phase = turn[None] - ((w.velocity @ w.k.T) * (t + dt))[:, None] + w.phase[:, None]
        return (phase.cos() * (w.amplitude * torch.exp(-0.02 * w.k.square().sum(1) * (t + dt)))[:, None]).sum(-1)

    torch.testing.assert_close(w.at(x, t)[:, 0, 0], u().float())
    ux, uy, ut = (u(h) - u(-h)) / 2 / h, (u(0, h) - u(0, -h)) / 2 / h, (u(0, 0, h) - u(0, 0, -h)) / 2 / h
    laplacian = (u(h) + u(-h) + u(0, h) + u(0, -h) - 4 * u()) / h**2
    residual = ut + w.velocity[:, :1] * ux + w.velocity[:, 1:] * uy - 0.02 * laplacian
    assert residual.abs().max() < 1e-3 * ut.abs().max()


def test_the_triangulation_covers_the_torus_and_its_matrices_are_exact_on_constants() -> None:
    mesh = periodic_mesh(100, 3)
    torch.testing.assert_close(mesh.measure.sum(), torch.ones((), dtype=torch.float64))
    assert mesh.components == 1 and mesh.cells is not None and len(mesh.cells) == 2 * mesh.shape[0]  # Euler's formula on a torus
    mass, stiffness, advection = assemble(mesh)
    one = torch.ones(mesh.shape[0], dtype=torch.float64).numpy()
    assert abs(one @ mass @ one - 1) < 1e-12
    assert max(abs(m @ one).max() for m in (stiffness, *advection)) < 1e-12
    assert max(abs(one @ m).max() for m in advection) < 1e-12  # advection by a constant velocity conserves


def test_finite_elements_converge_at_second_order() -> None:
    errors = []
    for nodes in (256, 1024, 4096):
        entry = MESH | {"nodes": nodes, "test_nodes": [nodes], "dt": 0.1, "leads": 2, "rows": 1}
        (found,) = score(task_of(entry), FiniteElements(5e-4, substeps=round(nodes**0.5) // 4), "test").values()
        errors.append(found["nrmse"][-1])
    assert errors[0] / errors[1] > 3 and errors[1] / errors[2] > 3, errors


def test_windows_depend_on_seed_and_step_alone() -> None:
    one, other = task_of(MESH), task_of(MESH)
    other.training(0, 3, 1)
    for step in range(3):
        a, b = one.training(0, step, 2), other.training(0, step, 2)
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) and torch.equal(a[2].parameters, b[2].parameters)
    assert not torch.equal(one.training(0, 0, 1)[0][:, 0, 0, :8], one.training(1, 0, 1)[0][:, 0, 0, :8])


def test_a_run_depends_on_its_seed_alone_and_training_helps() -> None:
    task = task_of(MESH | {"meshes": 1, "batch": 4, "dt": 0.02, "viscosity": 2e-2})  # mostly diffusion, which is learnt at once
    losses, curves = [], []
    for _ in range(2):
        surrogate = build(task, NETWORK, 0)
        losses.append(train(task, surrogate, 1e-2, 0, 100))
        curves.append(score(task, surrogate, "test")["2 of (64,)"]["nrmse"])
    assert curves[0] == curves[1] and losses[0] == losses[1]
    untrained = score(task, build(task, NETWORK, 0), "test")["2 of (64,)"]["nrmse"]
    assert curves[0][0] < 0.9 * untrained[0]


def test_each_row_has_the_parameters_of_its_trajectory(monkeypatch: pytest.MonkeyPatch) -> None:
    box, fields = Box.periodic((4, 4), 1.0), Fields.of(Field("velocity", components=("x", "y")))
    u = torch.arange(3.0)[:, None, None, None, None].expand(3, 5, 2, 4, 4).clone()  # trajectory n holds the value n everywhere
    data = to_xarray(u, fields, box, time=[0.1 * n for n in range(5)], trajectories=[0, 1, 2], parameters={"viscosity": [5.0, 6.0, 7.0]})
    monkeypatch.setattr(tasks, "open_dataset", lambda *_, **__: data)
    entry = {"dataset": "one", "size": "full", "train_frames": 4, "batch": 16, "leads": 2, "starts": [0, 1], "parameters": ["viscosity"]}
    task = task_of(entry)
    past, future, conditions = task.training(0, 0, 2)
    assert future.shape == (16, 2, 2, 4, 4) and torch.equal(conditions.parameter("viscosity"), 5 + past[:, 0, 0, 0, 0].double())
    (case,) = task.cases("test")
    assert torch.equal(case.conditions.parameter("viscosity"), 5 + case.past[:, 0, 0, 0, 0].double()) and len(case.truth) == 6
    assert torch.equal(task.conditioned()[:, 0], torch.tensor([5.0, 6.0, 7.0], dtype=torch.float64))


def suite(path: Path, **changes: object) -> Path:
    entry = {"data": MESH, "steps": 8, "rates": [1e-3, 1e-2], "scan": 0.5, "seeds": [0, 1], "networks": {"one": NETWORK}} | changes
    path.write_text(yaml.safe_dump({"mesh": entry}))
    return path


def result(run: Run, summary: float) -> dict:
    return {"run": json.loads(json.dumps(run.__dict__)), "scores": {"case": {"summary": summary}}}


def test_the_rate_with_the_least_validation_error_is_taken_and_finished_runs_are_not_made_again(tmp_path: Path) -> None:
    (plan,) = compare.plans(suite(tmp_path / "suite.yaml"), None, None)
    scans = plan.scans("one")
    assert [r.split for r in scans] == ["valid", "valid"] and compare.pending(tmp_path, [plan]) == scans
    for run, error in zip(scans, (float("nan"), 0.3), strict=True):  # the first blew up
        path = tmp_path / "runs" / f"{run.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result(run, error)))
    finals = compare.pending(tmp_path, [plan])
    assert [(r.lr, r.seed, r.steps, r.split) for r in finals] == [(1e-2, 0, 8, "test"), (1e-2, 1, 8, "test")]
    (changed,) = compare.plans(suite(tmp_path / "suite.yaml", data=MESH | {"leads": 5}), None, None)
    assert len(compare.pending(tmp_path, [changed])) == 2, "a run of other settings is no result of these"


def run(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SURROGATES_DATA": str(home / "data"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "operators" / "compare.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home)


@pytest.mark.slow
def test_one_command_from_nothing_to_the_table_and_again_without_work(tmp_path: Path) -> None:
    words = ("--suite", str(suite(tmp_path / "suite.yaml")), "--out", str(tmp_path / "out"), "--workers", "1")
    first = run(*words, home=tmp_path)
    assert first.returncode == 0, first.stderr
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| one |" in text and "finite elements, 2 substeps" in text and "2 of (100,)" in text
    assert (tmp_path / "out" / "table.png").stat().st_size > 1000
    again = run(*words, "--no-costs", home=tmp_path)
    assert again.returncode == 0 and "runs to make" not in again.stdout and (tmp_path / "out" / "table.md").read_text() == text


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({"networks": {"one": {"class": "MeshGraphNett"}}}, (), "mesh: one: network.class: no class 'MeshGraphNett'"),
        ({"networks": {"one": NETWORK | {"widht": 8}}}, (), "no such hyperparameter"),
        ({"networks": {"one": {"class": "FNO"}}}, (), "mesh: one: FNO works on a regular Box, got a Mesh"),
        ({"step": 3}, (), "mesh: expected the keys"),
        ({}, ("--only", "mehs"), "no task 'mehs'; it has .*did you mean 'mesh'"),
        ({}, ("--networks", "two"), "no network 'two'"),
    ],
)
def test_bad_suites_are_named_before_any_work(tmp_path: Path, changes: dict, words: tuple, message: str, capsys, monkeypatch) -> None:
    path = suite(tmp_path / "suite.yaml", **changes)
    monkeypatch.setattr(sys, "argv", ["compare.py", "--suite", str(path), "--out", str(tmp_path / "out"), *words])
    assert compare.main() == 2
    assert __import__("re").search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
