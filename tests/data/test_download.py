"""Data that a person downloads: asked for with page and folder, compared with the recipe, converted, found again; and those shipped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from surrogates import catalog
from surrogates.data import kinds
from surrogates.data.download import Recipe
from surrogates.data.files import open_dataset
from surrogates.interchange import domain_of, from_xarray, parameters_of

SHIPPED = catalog.share("datasets") / "turbulent_channel"
SMALL = {"frames": 5, "grid": [32, 32, 16], "splits": {"train": 2, "valid": 1, "test": 1}}
Y_PLUS = [0.0, 3.890106829, 7.846573232, 11.94000936, 16.25005699, 20.87132961, 25.92135535, 31.55173454, 37.96427802]
Y_PLUS += [45.43457925, 54.34583363, 65.23379696, 78.83285879, 96.0744271, 117.8893647, 144.548096, 174.5869506]
U_PLUS = [0.0, 3.910727498, 7.31408279, 9.829172352, 11.57285286, 12.79422113, 13.6864092, 14.38241952, 14.95702892]
U_PLUS += [15.45684961, 15.91902133, 16.3806051, 16.864639, 17.38088729, 17.92614729, 18.38331516, 18.55730197]
"""Columns of fdns_vel_stats_re180.txt, from the wall to the middle (github.com/Turbulence-AI/IUFNO-CHL)."""


def copied(folder: Path, **changes: Any) -> Path:
    entry = yaml.safe_load((SHIPPED / "recipe.yaml").read_text())
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**entry, **SMALL, **changes}))
    return folder


def channel() -> NDArray[np.float32]:
    """(4, 5, 32, 33, 16, 4): the published mean, and eddies that it carries along, at rest at the walls."""
    rng = np.random.default_rng(0)
    speed = np.array(U_PLUS + U_PLUS[-2::-1]) * Y_PLUS[-1] / 4200
    k = np.arange(17)
    amplitude = rng.normal(size=(4, 17, 33, 16, 3)) + 1j * rng.normal(size=(4, 17, 33, 16, 3))
    amplitude[:, 0], amplitude[:, 9:] = 0, 0
    turned = [amplitude * np.exp(-0.5j * k[:, None] * speed * t)[..., None, None] for t in range(5)]
    eddies = np.fft.irfft(np.stack(turned, 1), n=32, axis=2)
    u = np.zeros((4, 5, 32, 33, 16, 4))
    u[..., :3] = 0.3 * eddies * speed[:, None, None]
    u[..., 0] += speed[:, None]
    return u.astype(np.float32)


def test_what_is_not_there_is_asked_for_with_page_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="downloaded by hand") as caught:
        kinds.make("turbulent_channel", out=tmp_path / "out", quiet=True)
    for said in ("https://www.kaggle.com/datasets/aifluid/coarsened-fdns-data-chl", str(tmp_path / "out" / "source"), "_mave.npy"):
        assert said in str(caught.value)
    assert (tmp_path / "out" / "source").is_dir()


def test_it_is_converted_and_found_and_its_card_says_what_to_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SURROGATES_DATA", str(tmp_path))
    recipe, u = copied(tmp_path / "copy"), channel()
    source = tmp_path / "turbulent_channel" / "full" / "source"
    source.mkdir(parents=True)
    np.save(source / "Retau180_dim4x5x32x33x16x4_dT200.npy", u)
    folder = kinds.make(recipe, quiet=True)
    found = [open_dataset("turbulent_channel", split=s) for s in ("train", "valid", "test")]
    want = torch.from_numpy((u[:, :, :, :-1] + u[:, :, :, 1:])[..., :3] / 2).movedim(-1, 2)
    assert torch.equal(torch.cat([from_xarray(f) for f in found]), want)
    assert {n: v.tolist() for n, v in parameters_of(found[2]).items()} == {"reynolds_tau": [180.0], "viscosity": [pytest.approx(1 / 4200)]}

    (code,) = re.findall(r"```python\n(.*?)```", (SHIPPED / "README.md").read_text(), re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "bulk speed      0.662" in said and "Re_tau          175.0" in said and "moves by 2 points" in said
    above = [float(a) - float(b) for a, b in re.findall(r"u\+ +([\d.]+) +log law +([\d.]+)", said)][7:]
    assert len(above) == 9 and all(0.4 < v < 1.1 for v in above)

    for file in source.iterdir():
        file.unlink()
    assert kinds.make(recipe, quiet=True) == folder


def test_the_points_are_those_of_the_published_statistics() -> None:
    recipe = kinds.load("turbulent_channel")
    assert isinstance(recipe, Recipe)
    points = np.array(recipe.given.options["points"])
    np.testing.assert_allclose(points[:17], np.array(Y_PLUS) / Y_PLUS[-1], atol=1e-9)
    np.testing.assert_allclose(points + points[::-1], 2.0, atol=1e-9)
    formula = 1 + 2 / np.pi * np.arctan(2.8128806868607663 * np.tan(np.pi * (np.arange(33) / 32 - 0.5)))
    np.testing.assert_allclose(points, formula, atol=1e-10)


def test_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out" / "source").mkdir(parents=True)
    np.save(tmp_path / "out" / "source" / "channel.npy", channel())
    for changes, message in (
        ({"frames": 400}, r"holds 4 trajectories of \[5\] frames on \[\(32, 32, 16\)\], and the recipe says 4 of 400 on"),
        ({"splits": {"train": 20, "test": 1}}, "holds 4 trajectories .* the recipe says 21 of 5"),
        ({"grid": [64, 48, 32]}, r"the recipe says 4 of 5 on \(64, 48, 32\)"),
    ):
        with pytest.raises(ValueError, match=message):
            kinds.make(copied(tmp_path / "copy", **changes), out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out" / "data").exists()


def test_what_a_recipe_may_not_say_is_told(tmp_path: Path) -> None:
    for changes, message in (
        ({"format": "fdns_chanel"}, "format: no format 'fdns_chanel' .* did you mean 'fdns_channel'"),
        ({"splits": {"train": 0, "test": 1}}, "splits are .* but must be positive"),
        ({"splits": {"test": 1}}, "train among them"),
        ({"given": {"step": 1.0}}, "given.step: unknown key"),
    ):
        with pytest.raises(ValueError, match=message):
            kinds.load(copied(tmp_path / "copy", **changes))
    with pytest.raises(ValueError, match="no size 'tiny'"):
        kinds.load("turbulent_channel", "tiny")


def test_the_walls_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "out" / "source").mkdir(parents=True)
    np.save(tmp_path / "out" / "source" / "channel.npy", channel())
    folder = kinds.make(copied(tmp_path / "copy"), out=tmp_path / "out", quiet=True)
    box = domain_of(open_dataset(folder, split="test"))
    assert (box.lower[1], box.upper[1]) == (0.0, 2.0) and float(box.measure.sum()) == pytest.approx(32 * np.pi**2 / 3, rel=1e-12)
