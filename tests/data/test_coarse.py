"""Coarser grids: averages keep integrals on every domain, the low end of the spectrum keeps the waves that the coarse grid holds."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.data import Windows
from surrogates.data.coarse import Coarse
from surrogates.data.module import DataModule
from surrogates.domains import Box, Masked, Patch, Sphere
from surrogates.domains.layout import AnyDomain
from surrogates.fields import Field, Fields
from surrogates.interchange import declare, domain_of, from_xarray, to_xarray

EDGES = tuple(float(v) for v in torch.linspace(0, 1, 13, dtype=torch.float64).square())
DOMAINS = {
    "periodic": Box.periodic((12, 8), (3.0, 2.0)),
    "walls": Box((12, 8), (0.0, 1.0), (1.0, 5.0), ("wall", "periodic"), (EDGES, None)),
    "volume": Box((4, 6, 2), (0.0,) * 3, (1.0,) * 3, ("wall", "wall", "periodic")),
    "sphere": Sphere((12, 24), west=5.0, radius=2.0),
    "patch": Patch((12, 8), 10.0, 70.0, -20.0, 60.0),
}


def field(domain: AnyDomain, channels: int = 2) -> torch.Tensor:
    return torch.randn(3, channels, *domain.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", DOMAINS)
def test_averages_keep_integrals_and_constants(name: str) -> None:
    fine, coarsen = DOMAINS[name], Coarse(2)
    u, coarse = field(fine), coarsen.domain(DOMAINS[name])
    v = coarsen.values(u, fine)
    assert tuple(v.shape[2:]) == tuple(coarse.shape) == tuple(n // 2 for n in fine.shape)
    torch.testing.assert_close(coarse.integral(v), fine.integral(u), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(coarse.measure.sum(), fine.measure.sum(), rtol=1e-12, atol=0)
    torch.testing.assert_close(coarsen.values(torch.ones_like(u), fine), torch.ones_like(v))


@pytest.mark.parametrize("name", DOMAINS)
def test_coarse_points_lie_in_the_middle_of_the_fine_ones(name: str) -> None:
    fine = DOMAINS[name]
    coarse = Coarse(2).domain(fine)
    for axis in range(fine.dim):
        if name == "walls" and axis == 0:
            continue  # stretched: centres of unions are no means of centres
        x = fine.coordinate(axis).reshape(-1, 2).mean(1)
        torch.testing.assert_close(coarse.coordinate(axis), x, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_values_that_may_not_be_written_are_averaged_without_a_word() -> None:
    """What is mapped from a file, in a process that has not yet warned."""
    fine = DOMAINS["patch"]
    values = field(fine).numpy()
    values.setflags(write=False)
    assert np.array_equal(Coarse(2)._block(values, fine, False), Coarse(2)._block(values.copy(), fine, False))


def test_two_steps_are_one() -> None:
    fine = DOMAINS["sphere"]
    u, middle = field(fine), Coarse(2).domain(fine)
    torch.testing.assert_close(Coarse(3).values(Coarse(2).values(u, fine), middle), Coarse(6).values(u, fine))
    torch.testing.assert_close(torch.tensor(Coarse(3).domain(middle).west), torch.tensor(Coarse(6).domain(fine).west))


def test_dry_cells_do_not_count_and_missing_ones_do() -> None:
    wet = torch.ones(4, 4, dtype=torch.bool)
    wet[0, :2], wet[:2, 2:], wet[3, 3] = False, False, False
    fine = Masked(Box.periodic((4, 4), 1.0), wet)
    u = torch.arange(16.0).reshape(1, 1, 4, 4)
    u[~wet.expand_as(u)] = torch.nan
    coarse = Coarse(2).domain(fine)
    assert isinstance(coarse, Masked) and coarse.wet.tolist() == [[True, False], [True, True]]
    v = Coarse(2).values(u, fine)
    torch.testing.assert_close(v[0, 0], torch.tensor([[4.5, 0.0], [10.5, (10 + 11 + 14) / 3]]))
    u[0, 0, 3, 0] = torch.nan
    assert Coarse(2).values(u, fine)[0, 0].isnan().tolist() == [[False, False], [True, False]]


def test_low_waves_stay_and_high_ones_go() -> None:
    box = Box.periodic((16, 12), (2.0, 3.0))
    x, y = box.grid()
    low, high = torch.cos(2 * torch.pi * (x / 2 * 2 + y / 3)), torch.cos(2 * torch.pi * x / 2 * 6)
    coarsen = Coarse(2, "spectral")
    coarse = coarsen.domain(box)
    X, Y = coarse.grid()
    made = coarsen.values((low + high)[None, None], box)[0, 0]
    torch.testing.assert_close(made, torch.cos(2 * torch.pi * (X / 2 * 2 + Y / 3)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("grid", ["cells", "poles", "legendre-gauss"])
def test_low_harmonics_stay_on_a_sphere(grid: str) -> None:
    fine = Sphere((16, 24), grid, west=10.0)
    coarsen = Coarse(2, "spectral")

    def low(sphere: Sphere) -> torch.Tensor:
        lat, lon = (torch.deg2rad(sphere.coordinate(a)) for a in (0, 1))
        x = lat.cos()[:, None] * lon.cos()
        return 1 + x + lat.sin()[:, None] * x

    lat, lon = (torch.deg2rad(fine.coordinate(a)) for a in (0, 1))
    high = lat.cos()[:, None] ** 9 * (9 * lon).cos()
    made = coarsen.values((low(fine) + high)[None, None], fine)[0, 0]
    torch.testing.assert_close(made, low(coarsen.domain(fine)), atol=1e-10, rtol=0)


def test_what_has_no_coarser_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="factor of 3 does not divide"):
        Coarse(3).domain(Box.periodic((8,), 1.0))
    with pytest.raises(ValueError, match="write by: means"):
        Coarse(2, "spectral").domain(DOMAINS["walls"])
    with pytest.raises(ValueError, match="write by: spectral"):
        Coarse(2).domain(Sphere((8, 8), "poles"))
    with pytest.raises(ValueError, match="no smooth fields"):
        Coarse(2, "spectral").values(field(DOMAINS["sphere"]), DOMAINS["sphere"], vector=True)
    with pytest.raises(ValueError, match="unknown"):
        Coarse(2, "mean")


def test_windows_of_coarse_data_are_coarse_windows(dataset: xr.Dataset) -> None:
    still = dataset.assign(depth=(("x", "y"), np.arange(24.0).reshape(6, 4), {"units": "m"}))
    still = declare(still, static=Fields.of(Field("depth", "m")))
    still.attrs["fields"] = dataset.attrs["fields"]
    windows = Windows(still, 1, 1, change=Coarse(2))
    fine, coarse = domain_of(dataset), windows.domain
    assert coarse.shape == (3, 2)
    torch.testing.assert_close(
        coarse.integral(windows.batch([0]).past[0]), fine.integral(from_xarray(dataset)[0, :1]), rtol=1e-5, atol=1e-5
    )
    assert windows.static is not None and windows.static[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5], [18.5, 20.5]]


def test_files_are_packed_once_for_each_grid(dataset: xr.Dataset, write) -> None:  # type: ignore[no-untyped-def]
    folder = write(dataset).parents[2]
    fine = Windows(folder, split="train")
    coarse = Windows(folder, split="train", change=Coarse(2))
    assert coarse.batch([0]).past.shape[-2:] == (3, 2) and fine.batch([0]).past.shape[-2:] == (6, 4)
    assert len(list((folder / "cache").glob("train-*.npy"))) == 2
    assert coarse.beside("s") != fine.beside("s")


def test_a_dataset_keeps_what_has_no_space(dataset: xr.Dataset) -> None:
    made = Coarse(2)(dataset)
    assert made["viscosity"].equals(dataset["viscosity"]) and made["velocity_x"].attrs == dataset["velocity_x"].attrs
    again = to_xarray(
        Coarse(2).values(from_xarray(dataset).flatten(0, 1), domain_of(dataset)).reshape(5, 9, 3, 3, 2),
        Fields.of(Field("velocity", components=("x", "y")), Field("tracer", "K")),
        domain_of(made),
        time=dataset["time"].values.tolist(),
        trajectories=range(5),
    )
    xr.testing.assert_allclose(made["tracer"].drop_vars(["viscosity", "drag"]), again["tracer"])


def test_large_variables_are_averaged_where_they_are_looked_at(dataset: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        nonlocal read
        read += [values.shape[1]] if values.size else []  # dask looks at an empty one first
        return values

    lazily = dataset.copy()
    for name in dataset.data_vars:
        frames = da.from_array(dataset[name].values, chunks=(1, 3, -1, -1)).map_blocks(counted, dtype=np.float32)
        lazily[name] = (dataset[name].dims, frames, dataset[name].attrs)
    at_once = Coarse(2)(dataset)
    monkeypatch.setattr("surrogates.data.coarse.EAGER", 0)
    truth = DataModule({"train": lazily, "valid": lazily}, coarsen=Coarse(2)).truth("valid")
    assert not read
    assert torch.equal(from_xarray(truth.isel(time=slice(1, 2))), from_xarray(at_once.isel(time=slice(1, 2)))) and sum(read) == 3 * 5 * 3
    assert torch.equal(from_xarray(Coarse(2)(dataset)), from_xarray(at_once))
