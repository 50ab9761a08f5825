"""The check of a data set: what is wrong is an error with its place, what is notable is told, on grids, meshes and files of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from every_domain import DOMAINS, dataset, write

from surrogates.cli import main
from surrogates.data.audit import audit, audit_part
from surrogates.data.leakage import hashes
from surrogates.data.source import Piece, Source
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import GAPS, NAN, to_xarray


def said(*splits: tuple[str, xr.Dataset], conserved: tuple[str, ...] = ()) -> list[str]:
    source = Source(Path("here"), "ours", {s: [Piece(d, s)] for s, d in splits})
    return [f"{split}: {' '.join(notes)}" for split, _, notes in audit(source, conserved)]


@pytest.mark.parametrize("kind", ["line", "sea", "mesh"])
def test_a_frame_of_training_in_another_split_is_an_error(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    domain = DOMAINS[kind]()
    train, test = dataset(domain), dataset(domain, seed=1)
    write(train, tmp_path / "a")
    write(test, tmp_path / "a", "test")
    assert main(["data", "check", str(tmp_path / "a")]) == 0
    assert capsys.readouterr().out.count("is sound") == 2
    for name in test.data_vars:
        if "time" in test[name].dims:
            test[name].values[1, 3] = train[name].values[0, 2]
    write(train, tmp_path / "b")
    write(test, tmp_path / "b", "test")
    assert main(["data", "check", str(tmp_path / "b")]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "1 frames of split 'test' are in split 'train' too" in error
    assert "trajectory 3, frame 3 is " in error and "trajectory 0, frame 2;" in error


def test_validation_frames_in_the_test_are_told() -> None:
    valid, test = dataset(DOMAINS["plane"]()), dataset(DOMAINS["plane"](), seed=1)
    for name in test.data_vars:
        test[name].values[0, 0] = valid[name].values[0, 0]
    assert said(("valid", valid), ("test", test))[-1].startswith("test: 1 frames are also in 'valid'")


def test_a_frame_is_the_same_whatever_lies_on_land_and_whichever_zero() -> None:
    u = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    wet = np.array([True, True, True, False])
    v = u.copy()
    v[..., 3] = np.nan
    assert (hashes(u, wet) == hashes(v, wet)).all() and (hashes(u) != hashes(v)).all()
    u[0, 0, 0], v[0, 0, 0] = 0.0, -0.0
    assert hashes(u, wet)[0] == hashes(v, wet)[0]


def test_flat_and_unfinite_frames_and_falling_times_are_named() -> None:
    d = dataset(DOMAINS["plane"]())
    late = d.assign_coords(time=[0.0, 6.0, 5.0, 7.0, 8.0])
    with pytest.raises(ValueError, match="time is not sorted: entry 1 is 6 and entry 2 is 5"):
        audit_part(late, "here")
    d["height"].values[1, 3, 0, 0] = np.inf
    with pytest.raises(ValueError, match=r"here: trajectory 1 has values .* at time 18 \(frame 3\), channels \['height'\]"):
        audit_part(d, "here")
    for name in d.data_vars:
        d[name].values[1, 3] = 7.0
    with pytest.raises(ValueError, match=r"is constant over all space at time 18 \(frame 3\)"):
        audit_part(d, "here")


def test_a_flow_from_rest_is_a_note_and_a_tail_that_nobody_wrote_an_error() -> None:
    d = dataset(DOMAINS["plane"]())
    for name in d.data_vars:
        d[name].values[0, :2] = 7.0
    assert "2 frames are constant over all space, before any that varies" in audit_part(d, "here").notes()
    for name in d.data_vars:
        d[name].values[0, 4:] = 0.0
    with pytest.raises(ValueError, match=r"here: trajectory 0 is constant over all space at time 24 \(frame 4\); was that frame ever"):
        audit_part(d, "here")


def test_the_rest_that_flows_begin_at_is_no_leak() -> None:
    train, test = dataset(DOMAINS["plane"]()), dataset(DOMAINS["plane"](), seed=1)
    for d in (train, test):
        for name in d.data_vars:
            if "time" in d[name].dims:
                d[name].values[0, 0] = 0.0
    assert len(said(("train", train), ("test", test))) == 2


def test_declared_gaps_are_notes() -> None:
    d = dataset(DOMAINS["plane"]())
    d["height"].values[0, 2, 1, 1] = np.nan
    with pytest.raises(ValueError, match="where NaN means missing, say so"):
        audit_part(d, "here")
    found = audit_part(d.isel(time=[0, 1, 2, 4]).assign_attrs({GAPS: NAN, "dt": 6.0}), "here")
    assert found.missing == 1 and found.jumps == 1
    assert found.notes() == ["1 of 8 frames are missing", "1 steps in time are missing"]


def test_frames_that_are_missing_as_a_whole_are_no_leak_and_no_repeat() -> None:
    domain = DOMAINS["sea"]()
    train, test = (dataset(domain, seed=s).assign_attrs({GAPS: NAN}) for s in (0, 1))
    for d in (train, test):
        for name in d.data_vars:
            d[name].values[1, 2:4] = np.nan
    assert said(("train", train), ("test", test)) == [f"{s}: 2 of 10 frames are missing" for s in ("train", "test")]


def test_repeats_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    d = dataset(DOMAINS["plane"]())
    for name in d.data_vars:
        d[name].values[0, 3] = d[name].values[0, 2]
    monkeypatch.setattr("surrogates.data.audit.BLOCK", 1)
    assert audit_part(d, "here").repeated == 1


def test_budgets_and_divergence_are_measured() -> None:
    """A stream function's velocity has none; a tracer of growing mean drifts as it grows."""
    box = Box.periodic((16, 16), 2 * np.pi)
    x, y = box.grid()
    velocity = torch.stack([x.sin() * y.cos(), -x.cos() * y.sin()])
    frames = torch.stack([torch.cat([velocity * (1 + n), (1 + 0.1 * n + x.cos())[None]]) for n in range(3)])[None].float()
    fields = Fields.of(Field("velocity", components=("x", "y")), Field("tracer"))
    d = to_xarray(frames, fields, box, time=[0.0, 1.0, 2.0], trajectories=[0])
    (line,) = said(("train", d), conserved=("tracer", "velocity_x"))
    assert audit_part(d, "here", ("tracer",)).drift["tracer"] == pytest.approx(0.2 / 1.2, rel=1e-5)
    assert "the integral of tracer drifts by 0.17 of that of |tracer|" in line
    assert float(line.partition("divergence of velocity is ")[2].split()[0]) < 1e-6
    d["velocity_x"].values[:] = x.cos().numpy()
    assert "divergence of velocity is 0." in said(("train", d))[0]
    with pytest.raises(ValueError, match="no channel 'trace' among .* did you mean 'tracer'"):
        said(("train", d), conserved=("trace",))
