"""Observations: packages made in the test with what the real ones have, and the real ones where they can be had."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from surrogates import catalog
from surrogates.data import kinds, observed
from surrogates.data.files import open_dataset
from surrogates.data.observed import fetch
from surrogates.data.observed.geostrophic import GRAVITY, ROTATION, geostrophic
from surrogates.data.observed.persistence import main, persistence
from surrogates.data.observed.recipe import load
from surrogates.data.windows import Windows
from surrogates.domains import Masked, Patch, Sphere
from surrogates.interchange import domain_of, fields_of, from_xarray

RNG = np.random.default_rng(0)
LAND = np.s_[1:3, 2:4]


def sea(path: Path) -> Path:
    """20 days of sea level around an island, day 4 missing, a hole on day 6, packed as altimetry is."""
    eta = RNG.normal(size=(20, 6, 8)).cumsum(0) * 0.05
    eta[:, *LAND] = np.nan
    eta[4] = np.nan
    eta[6, 4, 4] = np.nan
    coords = {
        "time": ("time", np.arange(20.0), {"units": "days since 2005-04-01"}),
        "latitude": ("latitude", 30 + np.arange(6) * 0.5, {"units": "degrees_north"}),
        "longitude": ("longitude", np.arange(8) * 0.5 - 2, {"units": "degrees_east"}),
    }
    encoding = {"adt": {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -32767}}
    xr.Dataset({"adt": (("time", "latitude", "longitude"), eta, {"units": "m"})}, coords).to_netcdf(
        path, engine="h5netcdf", encoding=encoding
    )
    return path


def recipe(folder: Path, data: Path, **changes: Any) -> Path:
    entry: dict[str, Any] = {
        "kind": "observations",
        "name": "small_sea",
        "about": {"licence": "none"},
        "source": {
            "pypi": "small-sea==1.0",
            "files": {"sea.nc": {"member": "small/sea.nc", "sha256": sha256(data.read_bytes()).hexdigest()}},
        },
        "frames": 20,
        "grid": [6, 8],
        "fields": {"sea_level": {"variables": ["sea.nc adt"], "units": "m"}},
        "derived": {"current": {"geostrophic": "sea_level"}},
        "splits": {"train": ["2005-04-01", "2005-04-10"], "test": ["2005-04-13", "2005-04-20"]},
        "gap": 2,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**entry, **changes}))
    return path


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe whose package is a wheel that `pip download` would bring."""
    data = sea(tmp_path / "sea.nc")

    def download(source: Any, room: Path, folder: Path) -> Path:
        with zipfile.ZipFile(room / "small_sea-1.0-py3-none-any.whl", "w") as whole:
            whole.write(data, "small/sea.nc")
            whole.writestr("../../outside.nc", "never copied")
            whole.writestr("small/setup.py", "raise SystemExit")
        return room / "small_sea-1.0-py3-none-any.whl"

    monkeypatch.setattr(fetch, "_download", download)
    return recipe(tmp_path, data)


def test_from_a_package_to_windows(packed: Path, tmp_path: Path) -> None:
    """Only what the recipe names is copied; gaps and coasts stay; made twice it is not made again."""
    out = kinds.make(packed, out=tmp_path / "out", quiet=True)
    assert sorted(p.name for p in (out / "source").iterdir()) == ["sea.nc"] and not (tmp_path / "outside.nc").exists()
    train, test = open_dataset(out, "train", verify=True), open_dataset(out, "test", verify=True)
    domain = domain_of(train)
    assert isinstance(domain, Masked) and isinstance(domain.box, Patch) and train.attrs["licence"] == "none"
    wet = torch.ones(6, 8, dtype=torch.bool)
    wet[LAND] = False
    wet[4, 4] = False  # on one day without a value: dry on all, so that the coast does not move
    assert torch.equal(domain.wet, wet)
    assert fields_of(train).channels == ("sea_level", "current_north", "current_east")
    assert np.isnan(train["sea_level"].values[0, 4]).all() and np.isnan(train["current_north"].values[0, 4]).all()
    assert np.isfinite(np.delete(train["current_east"].values[0], 4, 0)[:, wet]).all()
    assert train.sizes["time"] == 10 and test.sizes["time"] == 8 and float(test["time"][0] - train["time"][-1]) == 3
    windows = Windows(out, 1, 1, split="train")
    assert len(windows) == 7 and all(bool(windows.batch([n]).future.isfinite().all()) for n in range(7))
    before = {p: p.stat().st_mtime_ns for p in out.glob("data/*/*")}
    shutil.rmtree(out / "source")
    kinds.make(packed, out=out, quiet=True)
    assert {p: p.stat().st_mtime_ns for p in out.glob("data/*/*")} == before


def test_a_recipe_that_changed_does_not_find_what_it_made_before(packed: Path, tmp_path: Path) -> None:
    """Other splits with the same names, or another file: what lies there is the old one, and is not handed out."""
    out = kinds.make(packed, out=tmp_path / "out", quiet=True)
    said = yaml.safe_load(packed.read_text())
    said["splits"]["train"] = ["2005-04-01", "2005-04-09"]
    packed.write_text(yaml.safe_dump(said))
    with pytest.raises(ValueError, match="made from something else, or with other options"):
        kinds.make(packed, out=out, quiet=True)


def test_a_file_may_be_put_there_by_hand_and_must_be_the_right_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sea(tmp_path / "sea.nc")
    monkeypatch.setattr(fetch, "_download", lambda *_: pytest.fail("fetched although it is there"))
    (tmp_path / "out/source").mkdir(parents=True)
    shutil.copy(data, tmp_path / "out/source/sea.nc")
    kinds.make(recipe(tmp_path, data), out=tmp_path / "out", quiet=True)
    (tmp_path / "other/source").mkdir(parents=True)
    (tmp_path / "other/source/sea.nc").write_bytes(data.read_bytes() + b"!")
    with pytest.raises(ValueError, match=r"has SHA-256 .*another version, or damaged"):
        kinds.make(recipe(tmp_path, data), out=tmp_path / "other", quiet=True)
    assert not list((tmp_path / "other").glob("data/*/*"))


def test_a_package_that_cannot_be_had_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = load(recipe(tmp_path, sea(tmp_path / "sea.nc")))
    failed = subprocess.CompletedProcess([], 1, "", "no such package")
    monkeypatch.setattr(fetch.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ValueError, match=r"no such package.*Put sea.nc"):
        fetch.files_of(entry.source, tmp_path / "source")
    monkeypatch.setattr(fetch.shutil, "which", lambda _: None)
    debian = load(
        recipe(
            tmp_path,
            tmp_path / "sea.nc",
            source={"debian": "small-sea", "files": {"sea.nc": {"member": "a", "sha256": "0" * 64}}},
            derived={},
        )
    )
    with pytest.raises(ValueError, match="which this machine lacks"):
        fetch.files_of(debian.source, tmp_path / "source")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_members_of_a_debian_package_are_copied_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text("Package: small\nVersion: 1\nArchitecture: all\nMaintainer: nobody <a@b.c>\nDescription: none\n")
    (tree / "DEBIAN/postinst").write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    (tree / "DEBIAN/postinst").chmod(0o755)
    (tree / "usr/share/small").mkdir(parents=True)
    data = sea(tree / "usr/share/small/sea.nc")
    (tree / "usr/share/small/link.nc").symlink_to("/etc/hostname")
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, tmp_path / "small.deb"], check=True, capture_output=True)
    monkeypatch.setattr(fetch, "_download", lambda *_: tmp_path / "small.deb")
    held = {"member": "usr/share/small/sea.nc", "sha256": sha256(data.read_bytes()).hexdigest()}
    source = load(recipe(tmp_path, data, source={"debian": "small", "files": {"sea.nc": held}})).source
    assert fetch.files_of(source, tmp_path / "source")["sea.nc"].read_bytes() == data.read_bytes()
    assert not (tmp_path / "executed").exists()
    linked = load(
        recipe(tmp_path, data, source={"debian": "small", "files": {"sea.nc": {**held, "member": "usr/share/small/link.nc"}}})
    ).source
    with pytest.raises(ValueError, match="has no member"):
        fetch.files_of(linked, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"splits": {"train": ["2005-04-01", "2005-04-10"], "test": ["2005-04-11", "2005-04-20"]}}, "lie 1 days apart, and gap asks for 2"),
        ({"frames": 21}, r"has shape \(20, 6, 8\) but the recipe says \(21, 6, 8\)"),
        ({"cells": "some"}, "cells is 'some'"),
        ({"splits": {"valid": ["2005-04-01", "2005-04-10"]}}, "train among them"),
        ({"fields": {"sea_level": {"variables": ["land.nc adt"], "units": "m"}}}, r"reads \['land.nc'\]"),
        ({"source": {"pypi": "a; rm -rf /", "files": {}}}, "no name of a package"),
        ({"source": {"pypi": "a", "debian": "b", "files": {}}}, "one package"),
        ({"source": {"pypi": "a", "files": {"../x": {"member": "m", "sha256": "0" * 64}}}}, "plain file name"),
        ({"source": {"pypi": "a", "files": {"x": {"member": "../m", "sha256": "0" * 64}}}}, "path inside the package"),
        ({"source": {"pypi": "a", "files": {"x": {"member": "m", "sha256": "12"}}}}, "64 hexadecimal digits"),
    ],
)
def test_recipes_that_are_wrong_say_where(changes: dict[str, Any], says: str, packed: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, tmp_path / "sea.nc", **changes)
    with pytest.raises(ValueError, match=says):
        observed.make(load(path), tmp_path / "out")
    with pytest.raises(ValueError, match="observations have one"):
        load(path, "tiny")


def test_geostrophic_currents_converge_to_the_exact_ones() -> None:
    """eta = sin(2 lambda) cos(phi)^2 m, in a sea and a part of the globe; second order; along the contours of eta."""

    def error(n: int) -> float:
        patch = Patch((n, n), 30.0, 46.0, -6.0, 37.0, radius=6.37122e6, units="m")
        phi, east = torch.meshgrid(*(torch.deg2rad(patch.coordinate(a)) for a in (0, 1)), indexing="ij")
        eta = ((2 * east).sin() * phi.cos().square())[None, None]
        scale = GRAVITY / (2 * ROTATION * phi.sin()) / patch.radius
        exact = torch.stack([2 * phi.cos() * (2 * east).cos(), 2 * phi.sin() * phi.cos() * (2 * east).sin()]) * scale
        found = geostrophic(eta, patch)[0]
        slope = patch.gradient(eta)[0]
        assert float((found * slope).sum(0).abs().max()) < 1e-12 * float(found.abs().max())
        return float((found - exact)[:, 1:-1, 1:-1].abs().max())

    assert 3.5 < error(16) / error(32) < 4.5
    with pytest.raises(ValueError, match="within 3 degrees of the equator"):
        geostrophic(torch.zeros(1, 1, 9, 16), Sphere((9, 16), "poles"))


def test_persistence_is_the_change_over_a_lead_and_leaves_out_what_is_missing(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = load(packed)
    data = observed.whole(entry, observed.files_of(entry.source, tmp_path / "source"))
    u, wet = from_xarray(data)[0, :, 0].double(), domain_of(data).wet
    pairs = [(t, t + 2) for t in range(18) if 4 not in (t, t + 2)]
    expected = torch.stack([(u[b] - u[a])[wet].square().mean() for a, b in pairs]).mean().sqrt()
    assert persistence(data, 2)["sea_level"][1] == pytest.approx(float(expected))
    assert main([str(packed), "--leads", "2", "--folder", str(tmp_path / "source")]) == 0
    assert f"{float(expected):.4g}" in capsys.readouterr().out
    assert main([str(packed), "--leads", "0.5", "--folder", str(tmp_path / "source")]) == 2


SHIPPED = ("north_america_1996", "mediterranean_altimetry", "navy_winds")


@pytest.mark.parametrize("name", SHIPPED)
def test_recipes_that_are_shipped(name: str) -> None:
    entry = kinds.load(name)
    assert entry.counts == {"train": 1, "valid": 1, "test": 1} and entry.summary["equation"] == "observations"
    card = (catalog.share("datasets") / name / "README.md").read_text()
    assert all(
        word in card
        for word in ("licence", entry.source.package.split()[-1].split("=")[0], *(h.sha256[:12] for h in entry.source.files.values()))
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "field", "figures"),
    [
        ("north_america_1996", "pressure", {1: 468, 4: 1046, 12: 1337}),
        ("mediterranean_altimetry", "sea_level", {1: 0.0043, 5: 0.0179, 10: 0.0306, 20: 0.0422}),
    ],
)
def test_the_real_ones_have_their_published_figures(name: str, field: str, figures: dict[int, float], tmp_path: Path) -> None:
    entry = kinds.load(name)
    try:
        files = observed.files_of(entry.source, tmp_path / "source")
    except ValueError as error:
        pytest.skip(f"cannot be fetched here: {error}")
    data = observed.whole(entry, files)
    for frames, figure in figures.items():
        assert persistence(data, frames)[field][1] == pytest.approx(figure, rel=0.01)
