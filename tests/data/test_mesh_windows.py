"""Windows over trajectories on different meshes: a batch is its members side by side, and no member knows of the others."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from mesh_examples import square

from surrogates.data.mesh_file import Part, create
from surrogates.data.mesh_order import NodeOrder
from surrogates.data.mesh_windows import MeshWindows, windows_of
from surrogates.data.module import DataModule
from surrogates.data.order import Order
from surrogates.data.windows import Windows
from surrogates.domains import Mesh
from surrogates.domains.layout import same
from surrogates.fields import Field, Fields
from surrogates.interchange import declare, from_xarray, to_xarray
from surrogates.noise import SeededNoise, noise_on

FIELDS = Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("pressure", "Pa"))


def part(mesh: Mesh, frames: int, ids: list[int], forced: bool = False) -> xr.Dataset:
    """Random frames on a mesh, its y as a static field and its x times t as a forcing."""
    generator = torch.Generator().manual_seed(ids[0])
    u = torch.randn(len(ids), frames, 3, *mesh.shape, generator=generator)
    times = [0.5 * t for t in range(frames)]
    out = to_xarray(u, FIELDS, mesh, time=times, trajectories=ids, parameters={"nu": [0.1 * (i + 1) for i in ids]})
    x, y = mesh.points.T.numpy()
    out["height"] = ("node", y.astype(np.float32), {"units": "m"})
    static = Fields.of(Field("height", "m"))
    if not forced:
        return declare(out, static=static)
    out["pull"] = (
        ("trajectory", "time", "node"),
        np.einsum("t,n->tn", times, x)[None].repeat(len(ids), 0).astype(np.float32),
        {"units": "1"},
    )
    return declare(out, static=static, forcings=Fields.of(Field("pull")))


def parts(forced: bool = False) -> list[xr.Dataset]:
    return [part(square(2), 5, [0, 1], forced), part(square(3, 1), 4, [2], forced), part(square(4, 2), 6, [7], forced)]


def test_a_batch_is_its_members_side_by_side() -> None:
    windows = MeshWindows(parts(True), 2, 1, split="train")
    assert len(windows) == 3 + 3 + 2 + 4
    batch = windows.batch([0, 6, 9])
    meshes = [square(2), square(3, 1), square(4, 2)]
    assert same(batch.conditions.domain, Mesh.batch(meshes))
    assert batch.past.shape == (1, 2, 3, 9 + 16 + 25) and batch.future.shape == (1, 1, 3, 50) and len(batch) == 3
    ends = [0, 9, 25, 50]
    for g, (n, start) in enumerate([(0, 0), (1, 0), (2, 1)]):
        truth = from_xarray(parts()[n])[0, start : start + 3]
        assert torch.equal(torch.cat([batch.past[0], batch.future[0]])[..., ends[g] : ends[g + 1]], truth)
    conditions = batch.conditions
    assert conditions.time.tolist() == [0.5, 0.5, 1.0] and conditions.dt.tolist() == [0.5] * 3
    torch.testing.assert_close(conditions.parameters[:, 0], torch.tensor([0.1, 0.3, 0.8]))
    points = conditions.domain.points
    assert torch.equal(conditions.static[0, 0], points[:, 1].float())
    torch.testing.assert_close(
        conditions.forcing(conditions.time)[0, 0], (conditions.domain.expand(conditions.time[:, None])[0, 0] * points[:, 0]).float()
    )


def test_members_alone_are_members_together() -> None:
    windows = MeshWindows(parts(True), split="train")
    together = windows.batch([1, 5, 9])
    alone = [windows.batch([i]) for i in (1, 5, 9)]
    assert torch.equal(together.past, torch.cat([b.past for b in alone], -1))
    assert torch.equal(together.conditions.static, torch.cat([b.conditions.static for b in alone], -1))
    assert torch.equal(together.windows, torch.cat([b.windows for b in alone]))


def test_noise_does_not_know_the_other_members() -> None:
    windows = MeshWindows(parts(), split="train")
    batch = windows.batch([1, 8, 12])
    noise = noise_on(batch.conditions.domain, 3, batch.windows.tolist(), [0] * 3)
    field, level = noise(torch.empty(1, 6, 50), step=2, draw=1), noise(torch.empty(1, 3), step=2, draw=1)
    for g, (a, b) in enumerate([(0, 9), (9, 25), (25, 50)]):
        own = SeededNoise(3, [int(batch.windows[g])], [0])
        assert torch.equal(field[..., a:b], own(torch.empty(1, 6, b - a), step=2, draw=1))
        assert torch.equal(level[:, g], own(torch.empty(1, 1), step=2, draw=1)[:, 0])
    with pytest.raises(ValueError, match="end in all of them"):
        noise(torch.empty(1, 6, 49), step=2, draw=1)


def test_batches_keep_to_the_nodes_and_to_the_order() -> None:
    nodes = np.random.default_rng(0).integers(5, 40, 30)
    order, whole = NodeOrder(nodes, 4, 60, 1), Order(30, 1, 1)
    batches = [order(step) for step in range(40)]
    assert torch.equal(torch.cat(batches), torch.cat([whole(i) for i in range(sum(map(len, batches)))]))
    sizes = [int(nodes[b.numpy()].sum()) for b in batches]
    assert max(sizes) <= 60 and max(map(len, batches)) <= 4
    for k, (b, after) in enumerate(pairwise(batches)):
        assert len(b) == 4 or sizes[k] + nodes[int(after[0])] > 60, "a batch ends only where a limit is reached"
    assert torch.equal(NodeOrder(nodes, 4, 60, 1)(25), batches[25]), "the batch of a step does not depend on the steps before"


def test_threads_that_read_ahead_agree_where_batches_begin() -> None:
    nodes = np.random.default_rng(0).integers(5, 40, 30)
    alone, shared = NodeOrder(nodes, 4, 60, 1), NodeOrder(nodes, 4, 60, 1)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            batches = list(pool.map(shared, range(400)))
    finally:
        sys.setswitchinterval(interval)
    assert all(torch.equal(b, alone(step)) for step, b in enumerate(batches))


def test_a_run_resumed_late_finds_its_place_soon() -> None:
    begun = time.process_time()
    NodeOrder(np.random.default_rng(0).integers(5, 40, 5000), 4, 60, 1)(500_000)
    assert time.process_time() - begun < 5.0


def test_a_mesh_that_no_batch_can_hold_is_named() -> None:
    with pytest.raises(ValueError, match="trajectory 7 has 25 nodes but max_nodes is 20"):
        MeshWindows(parts(), split="train", max_nodes=20)


def test_validation_keeps_to_the_nodes_too() -> None:
    data = DataModule({"train": parts(), "valid": parts()}, batch_size=8, max_nodes=60)
    sizes = [b.past.shape[-1] for b in data.val_dataloader()]
    assert max(sizes) <= 60
    assert torch.equal(
        torch.cat([b.windows for b in data.val_dataloader()]),
        torch.cat([b.windows for b in DataModule({"valid": parts()}).val_dataloader()]),
    )


def test_meshes_are_joined_once() -> None:
    windows = MeshWindows(parts(), split="train")
    assert windows.batch([0, 9]).conditions.domain is windows.batch([1, 10]).conditions.domain
    assert windows.meshes[0] is windows.batch([0]).conditions.domain


def test_joined_meshes_are_kept_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surrogates.data.mesh_windows.KEPT", 10_000)
    windows = MeshWindows(parts(), split="train")
    for rows in ([0, 2], [0, 3], [2, 3], [3, 3], [0, 2, 3]):
        windows.joined(np.array(rows))
        assert sum(map(held, windows._joined.values())) <= 10_000
    assert windows._joined


def held(mesh: Mesh) -> int:
    return sum(x.nbytes for x in (mesh.points, mesh.edges, mesh.measure, mesh.markers, mesh.member, mesh.cells))


def test_a_value_that_is_not_finite_is_named_in_a_stream_too() -> None:
    given = parts()
    given[2]["pressure"][0, 3, 4] = np.nan
    windows = MeshWindows(given, 2, 1, stream=True, split="train")
    windows.batch([0, 8])
    with pytest.raises(ValueError, match=r'frames 1 to 3 of trajectory 7 .* coordinate "missing"'):
        windows.batch([0, 9])


def test_the_same_mesh_for_all_needs_no_joining() -> None:
    alike = [part(square(2), 5, [0]), part(square(2), 4, [1])]
    assert type(windows_of(alike, split="train")) is Windows
    assert isinstance(windows_of(parts(), split="train"), MeshWindows)


def test_gaps_and_lengths_hold_as_on_grids() -> None:
    given = parts()
    given[2]["pressure"][0, 3, 4] = np.nan
    windows = MeshWindows([p.assign_attrs(gaps="NaN") for p in given], split="train")
    starts = [int(i) % windows.per_trajectory for i in windows.batch(range(len(windows))).windows if int(i) // windows.per_trajectory == 7]
    assert starts == [0, 1, 4]


def test_files_are_read_as_memory_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURROGATES_DATA", str(tmp_path / "root"))
    path = tmp_path / "squares" / "data" / "train" / "squares.hdf5.part"
    create(path, parts(True), name="squares")
    file = Part(path)
    for row, u in enumerate(v for p in parts(True) for v in from_xarray(p).numpy()):
        forcing = np.concatenate([p["pull"].values for p in parts(True) if len(p.node) == u.shape[-1]])[:1, :, None][0]
        file.write(row, u, forcing)
    file.finish()
    stored, memory = MeshWindows(str(path.parents[2]), 2, split="train"), MeshWindows(parts(True), 2, split="train")
    for indices in ([0, 4], [8, 2, 5]):
        one, other = stored.batch(indices), memory.batch(indices)
        assert torch.equal(one.past, other.past) and torch.equal(one.future, other.future)
        assert same(one.conditions.domain, other.conditions.domain)
        assert torch.equal(one.conditions.forcing(one.conditions.time), other.conditions.forcing(other.conditions.time))
    assert [len(list(w.trajectories())) for w in (stored, memory)] == [4, 4]
