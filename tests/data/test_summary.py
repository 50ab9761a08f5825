"""What is told of a data set is so: statistics from exact fields, spectra of known waves, dates, a card that shows every kind of domain."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from every_domain import DOMAINS, dataset, write

from surrogates.cli import main
from surrogates.data.raster import raster
from surrogates.data.sample import sample_of
from surrogates.data.spectra import spectrum
from surrogates.data.summary import facts
from surrogates.domains import Box, Masked, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.interchange import to_xarray


def test_means_and_deviations_are_those_of_the_domain() -> None:
    """On a sphere, sin(latitude) has mean 0 and mean square 1/3 under the area."""
    sphere = Sphere((64, 8), "legendre-gauss")
    u = torch.deg2rad(sphere.coordinate(0)).sin()[:, None].expand(64, 8).float()
    d = to_xarray(u[None, None, None].expand(1, 3, 1, 64, 8), Fields.of(Field("h")), sphere, time=[0.0, 1.0, 2.0], trajectories=[0])
    m = sample_of([d]).moments
    np.testing.assert_allclose(m.mean, 0, atol=1e-7)
    np.testing.assert_allclose(m.std, 3**-0.5, rtol=1e-6)


def test_what_is_missing_at_sea_is_counted_and_land_is_not() -> None:
    d = dataset(DOMAINS["sea"]())
    d["height"].values[..., :2, :] = np.nan
    d["height"].values[0, 0, 5, :4] = np.nan
    m = sample_of([d]).moments
    assert m.missing.tolist() == [0, 0, 4] and m.cells == 10 * 6 * 10 and np.isfinite(m.std).all()


@pytest.mark.parametrize("periodic", [True, False])
def test_a_spectrum_finds_the_wave_and_its_energy(periodic: bool) -> None:
    """3 cos(5 x) on [0, 2 pi): 1/2 <u^2> = 9/4 in wave 5, the same within the window's leakage where the axis ends."""
    end = 2 * np.pi
    box = Box.periodic((64,), end) if periodic else Box((64,), (0.0,), (end,), ("wall",))
    u = (3 * torch.cos(5 * box.coordinate(0))).float().numpy()
    s = spectrum(u, box)
    assert s is not None
    if periodic:
        assert s.power[5] == pytest.approx(9 / 4, rel=1e-5) and s.power.sum() == pytest.approx(9 / 4, rel=1e-5)
    else:
        assert s.power.argmax() == 5 and s.power[4:7].sum() == pytest.approx(9 / 4, rel=0.02)


def test_the_slope_is_that_of_the_power_law() -> None:
    box = Box.periodic((256,), 2 * np.pi)
    k = np.arange(1, 128)
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, 127)[:, None]
    u = (k[:, None] ** (-5 / 6) * np.cos(k[:, None] * box.coordinate(0).numpy() + phase)).sum(0)
    s = spectrum(u.astype(np.float32), box)
    assert s is not None and s.slope == pytest.approx(-5 / 3, abs=1e-3)
    assert s.bars() == "".join(sorted(s.bars(), reverse=True))


def test_facts_tell_dates_splits_dry_cells_and_gaps(tmp_path: Path) -> None:
    sea, about = DOMAINS["sea"](), {"units": "hours since 1996-01-01", "calendar": "standard"}
    d = dataset(sea, about=about)
    write(d.isel(time=[0, 1, 2, 4]), tmp_path)
    write(dataset(sea, 1, 4, seed=1, about=about), tmp_path, "valid")
    told = facts(tmp_path)
    assert told["trajectories"] == "train 2, valid 1" and told["frames"] == "4 of dt 6" and told["steps that are missing"] == "1"
    assert told["time"] == "1996-01-01 00:00 to 1996-01-02 00:00 (hours since 1996-01-01, standard)"
    assert "25 % of the cells are dry" in told["grid"] and told["licence"] == "CC0"


@pytest.mark.parametrize("kind", DOMAINS)
def test_a_pixel_shows_the_point_that_is_nearest(kind: str) -> None:
    domain = DOMAINS[kind]()
    if domain.dim == 1:
        with pytest.raises(ValueError, match="drawn as a line"):
            raster(domain)
        return
    show = raster(domain, 64)
    points = (
        domain.points.T
        if isinstance(domain, Mesh)
        else torch.stack(torch.meshgrid(*map(domain.coordinate, range(domain.dim)), indexing="ij"))
    )
    across, up = (0, 1) if isinstance(domain, Box | Mesh) else (1, 0)
    x, y = (show(points[a].float().numpy()) for a in (across, up))
    inside = ~show.outside
    left, right, low, high = show.extent
    columns = left + (np.arange(x.shape[1]) + 0.5) * (right - left) / x.shape[1]
    rows = high - (np.arange(x.shape[0]) + 0.5) * (high - low) / x.shape[0]
    assert inside.any() and (isinstance(domain, Mesh | Masked) or inside.all())
    reach = 1.0 if isinstance(domain, Mesh) else max((right - left) / domain.shape[across], (high - low) / domain.shape[up])
    assert np.abs(x - columns)[inside].max() <= reach and np.abs(y - rows[:, None])[inside].max() <= reach


@pytest.mark.parametrize("kind", ["line", "cube", "sphere", "sea", "mesh"])
def test_info_and_its_card_work_on_every_domain(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import base64
    import re

    from PIL import Image

    d = dataset(DOMAINS[kind]())
    if kind == "sea":
        d["height"].values[..., :2, :] = np.nan
    write(d, tmp_path)
    page = tmp_path / "card.html"
    assert main(["data", "info", str(tmp_path), "--html", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "height" in printed and "all 10 frames of split 'train'" in " ".join(printed.split()) and str(page) in printed
    text = page.read_text()
    assert "http" not in text and len(text) < 2_000_000
    films = re.findall(r"data:image/gif;base64,([^\"]+)", text)
    film = Image.open(io.BytesIO(base64.b64decode(films[0])))
    assert len(films) == 1 and film.n_frames == 5
    assert len(re.findall("data:image/png", text)) == (3 if kind in ("sea", "mesh") else 4)


def test_a_file_of_others_is_told_of_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "u.npy", np.random.default_rng(0).normal(size=(2, 5, 16, 8)).astype(np.float32))
    source = {"dt": 0.5, "lengths": [2.0, 1.0], "boundary": ["periodic", "periodic"], "units": {"u": "m s-1", "length": "m", "time": "s"}}
    import yaml

    (tmp_path / "source.yaml").write_text(yaml.safe_dump(source))
    assert main(["data", "info", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "npy" in printed and "0 to 2 s" in printed and "16 x 8 on 2 x 1" in printed
