"""What is kept of a forecast is that part of the whole forecast, whatever the chunks; the engine makes the same frames."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from forecast.steps import Threes, Walk

from surrogates import simulate
from surrogates.domains import Box, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.forecast import Keep
from surrogates.forecast.diagnostics import Mean
from surrogates.interchange import domain_of, to_xarray

FIELDS = Fields.of(Field("p", "Pa"), Field("v", "m s-1", ("x", "y")), Field("t", "K", levels=(1.0, 2.0)))
BOX = Box.periodic((8, 6), (4.0, 3.0), units="m")
WALLS = Box((6,), (0.0,), (1.0,), ("wall",), ((0.0, 0.1, 0.3, 0.6, 0.8, 0.9, 1.0),))
MESH = Mesh.from_cells([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1, 2], [0, 2, 3]])


def start(domain: Any = BOX, fields: Fields = FIELDS) -> xr.Dataset:
    u = torch.linspace(-1, 1, 2 * fields.count * prod(domain.shape)).reshape(2, 1, fields.count, *domain.shape)
    return to_xarray(u, fields, domain, time=[1.0], trajectories=[3, 5], attrs={"dt": 0.5})


def made(keep: Keep | None, domain: Any = BOX, base: type[Walk] = Walk, **change: Any) -> xr.Dataset:
    step = base()
    step.inputs = step.outputs = FIELDS  # type: ignore[misc]
    return simulate(step, start(domain), 13, **{"members": 2, "seed": 1, "group": 4, "chunk": 3, "keep": keep, **change})


@pytest.mark.parametrize("base", [Walk, Threes])
@pytest.mark.parametrize("every", [1, 2, 5, 13])
@pytest.mark.parametrize("to_disk", [False, True])
def test_every_so_many_frames_from_fields_that_are_asked_for(tmp_path: Path, base: type[Walk], every: int, to_disk: bool) -> None:
    whole = made(None, base=base)
    part = made(Keep(("v", "t"), every=every), base=base, out=tmp_path / "f" if to_disk else None)
    assert np.allclose(part["time"], whole["time"].values[every - 1 :: every]) and part.attrs["dt"] == 0.5 * every
    assert not {"p"} & set(part.data_vars) and domain_of(part) == BOX
    for name in ("v_x", "v_y", "t"):
        assert np.array_equal(part[name].values, whole[name].values[:, :, every - 1 :: every])
    assert part["t"].dims == ("trajectory", "member", "time", "level", "x", "y")


@pytest.mark.parametrize(
    ("domain", "keep", "where"),
    [
        pytest.param(BOX, Keep(stride=2), {"x": slice(0, 8, 2), "y": slice(0, 6, 2)}, id="stride"),
        pytest.param(BOX, Keep(region={"x": (1.0, 2.5)}), {"x": slice(2, 6)}, id="region"),
        pytest.param(BOX, Keep(region={"x": (3.0, 4.5), "y": (0.4, 1.1)}), {"x": [6, 7, 0, 1], "y": [1, 2]}, id="round-the-end"),
        pytest.param(WALLS, Keep(region={"x": (0.2, 0.7)}), {"x": slice(1, 4)}, id="stretched-walls"),
        pytest.param(
            Sphere((4, 8), west=0.0), Keep(region={"lon": (-50, 50), "lat": (0, 90)}), {"lat": [0, 1], "lon": [7, 0, 1]}, id="sphere"
        ),
        pytest.param(Sphere((5, 8), "poles"), Keep(stride=2), {"lat": slice(0, 5, 2), "lon": slice(0, 8, 2)}, id="poles"),
        pytest.param(MESH, Keep(region={"x": (0.5, 2.0)}), {"node": [1, 2]}, id="mesh"),
    ],
)
def test_a_region_is_that_part_of_the_whole(domain: Any, keep: Keep, where: dict[str, Any]) -> None:
    whole = made(None, domain).isel(where)
    part = made(keep, domain)
    for name in ("p", "v_x", "v_y", "t"):
        assert np.array_equal(part[name].values, whole[name].values)
    for name in where if not isinstance(domain, Mesh) else ("x", "y"):
        period = {"lon": 360.0, "x": 4.0, "y": 3.0}.get(name, np.inf) if not isinstance(domain, Mesh) else np.inf
        gap = np.abs(part[name].values - whole[name].values)
        assert np.minimum(gap, np.abs(period - gap)).max() < 1e-9 and (isinstance(domain, Mesh | Sphere) or (np.diff(part[name]) > 0).all())
    if isinstance(domain, Box) or (isinstance(domain, Sphere) and keep.stride > 1):
        assert domain_of(part).shape == part["p"].shape[3:]
    else:
        assert "domain" not in part.attrs


@pytest.mark.parametrize(
    ("domain", "keep", "ends"),
    [
        (BOX, Keep(stride=2), ()),
        (BOX, Keep(region={"x": (1.0, 2.5)}), ("x_lower", "x_upper")),
        (WALLS, Keep(region={"x": (0.2, 0.7)}), ("x_lower", "x_upper")),
        (WALLS, Keep(region={"x": (0.0, 0.7)}), ("x_upper",)),
        (WALLS, Keep(region={"x": (0.0, 1.0)}), ()),
        (replace(WALLS, open_ends=("x_upper",)), Keep(region={"x": (0.2, 1.0)}), ("x_lower", "x_upper")),
    ],
)
def test_a_region_is_open_where_it_was_cut(domain: Box, keep: Keep, ends: tuple[str, ...]) -> None:
    kept = domain_of(made(keep, domain))
    assert isinstance(kept, Box)
    assert kept.open_ends == ends


@pytest.mark.parametrize("every", [1, 4])
def test_diagnostics_beside_the_fields_are_those_of_the_frames(every: int) -> None:
    keep = Keep(("p",), every=every, diagnostics=("integral", "energy", "spectrum", "mean", "variance", "extremes"))
    part, whole = made(keep), made(None)
    frames = whole["v_x"].values.astype(np.float64)
    integral = frames.sum((-1, -2)) * 0.25
    np.testing.assert_allclose(part["integral_v_x"], integral[:, :, every - 1 :: every], rtol=1e-12)
    np.testing.assert_allclose(part["energy_v_x"], (frames**2).sum((-1, -2))[:, :, every - 1 :: every] / 8, rtol=1e-12)
    np.testing.assert_allclose(part["v_x_mean"], frames.mean(2), rtol=1e-12)
    np.testing.assert_allclose(part["v_x_variance"], frames.var(2), rtol=1e-9)
    assert np.array_equal(part["v_x_maximum"], frames.max(2)) and np.array_equal(part["v_x_minimum"], frames.min(2))
    assert part["spectrum_t"].dims == ("trajectory", "member", "time", "level", "wavenumber")
    assert part["integral_t"].sizes["level"] == 2 and part["t_mean"].dims == ("trajectory", "member", "level", "x", "y")
    assert part["v_x_mean"].attrs["cell_methods"] == "time: mean" and part["v_x_variance"].attrs["units"] == "(m s-1)2"


def test_diagnostics_instead_of_the_fields_and_of_a_region() -> None:
    part, whole = made(Keep((), region={"x": (1.0, 2.5)}, diagnostics=(Mean(), "energy"))), made(None)
    assert {str(n).partition("_")[0] for n in part.data_vars} == {"p", "v", "t", "energy", "failed"} and "v_x" not in part
    np.testing.assert_allclose(part["p_mean"], whole["p"].values[..., 2:6, :].astype(np.float64).mean(2), rtol=1e-12)
    np.testing.assert_allclose(part["energy_p"], (whole["p"].values.astype(np.float64) ** 2).sum((-1, -2)) / 8, rtol=1e-12)


def test_types_and_compression(tmp_path: Path) -> None:
    whole = made(None)
    for keep in (Keep(dtype="float16"), Keep(dtype="float64", compression="zstd"), Keep(compression="gzip")):
        part = made(keep, out=tmp_path / f"{keep.dtype}{keep.compression}")
        assert part["p"].dtype == np.dtype(keep.dtype)
        assert np.array_equal(part["p"].values, whole["p"].values.astype(keep.dtype))
    with pytest.raises(ValueError, match="an HDF5 forecast is not compressed"):
        made(Keep(compression="zstd"), out=tmp_path / "f.h5")


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        (lambda: Keep(every=0), "at least 1"),
        (lambda: Keep(dtype="int8"), "dtype 'int8' is unknown"),
        (lambda: Keep(compression="zip"), "compression 'zip' is unknown"),
        (lambda: Keep(diagnostics=("mean", Mean())), "asked for twice"),
        (lambda: Keep(("velocity",)), "field 'velocity' cannot be kept: the step makes p, v, t"),
        (lambda: Keep(region={"z": (0, 1)}), "region names 'z' but the domain has the coordinates x, y"),
        (lambda: Keep(region={"x": (0.1, 0.2)}), "holds no point along 'x'"),
        (lambda: Keep(every=14), "every=14 keeps none of 13 frames"),
    ],
)
def test_what_cannot_be_kept_is_named(keep: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        made(keep())
