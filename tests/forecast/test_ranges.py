"""What lies inside the training split passes; a parameter, an amplitude or a spectrum outside is named, with both numbers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import xarray as xr
from forecast.steps import U

from surrogates.domains import Box
from surrogates.forecast.ranges import OutsideTrainingError, Ranges
from surrogates.interchange import to_xarray

BOX = Box.periodic((32,), 2 * math.pi)


def data(amplitude: float = 1.0, steep: float = 2.0, viscosity: tuple[float, float] = (0.1, 0.2), split: str = "train") -> xr.Dataset:
    """Two trajectories of five frames, mode k of size amplitude k^-steep; the second is a fifth larger."""
    (x,) = BOX.grid()
    phase = torch.arange(10, dtype=torch.float64).reshape(2, 5, 1)
    u = sum(((k * x + k * phase).sin() * k**-steep for k in range(1, 9)), torch.zeros(2, 5, 32))
    u = amplitude * u * torch.tensor([1.0, 1.2]).reshape(2, 1, 1)
    time = [0.1 * n for n in range(5)]
    values = {"viscosity": list(viscosity)}
    return to_xarray(u[:, :, None].float(), U, BOX, time=time, trajectories=[3, 4], parameters=values, attrs={"split": split})


RANGES = Ranges.fit(data())


def test_the_training_split_and_what_lies_between_pass() -> None:
    assert RANGES.reasons(data()) == [] == RANGES.reasons(data(1.1, viscosity=(0.12, 0.18), split="test"))
    RANGES.check(data(split="test").isel(time=[0]))
    RANGES.check(data(split="test").isel(time=0))
    assert RANGES.parameters == {"viscosity": (0.1, 0.2)}
    low, high = RANGES.amplitude[0]
    assert high / low == pytest.approx(1.2, rel=1e-3)


def test_each_kind_of_outside_is_named_with_its_trajectory_and_numbers() -> None:
    (text,) = RANGES.reasons(data(viscosity=(0.15, 0.5)))
    assert text == "trajectory 4: viscosity is 0.5 but training held 0.1 to 0.2"
    large = RANGES.reasons(data(5.0))
    assert large[0].startswith("trajectory 3: rms of u is 3.6") and "shells of u lie outside" in large[1]
    steep = RANGES.reasons(data(steep=3.0))  # the same amplitude within 10 %, and far too little at small scales
    assert len(steep) == 2 and all("shells of u lie outside, the first" in t for t in steep)


def test_it_refuses_or_warns() -> None:
    with pytest.raises(OutsideTrainingError, match="nothing is promised: trajectory 4: viscosity"):
        RANGES.check(data(viscosity=(0.15, 0.5)))
    with pytest.warns(UserWarning, match="viscosity is 0.5"):
        RANGES.check(data(viscosity=(0.15, 0.5)), refuse=False)


def test_another_resolution_is_judged_by_amplitude_alone() -> None:
    coarse = Box.periodic((16,), 2 * math.pi)
    (x,) = coarse.grid()
    u = x.sin().expand(1, 1, 1, 16).float()
    state = to_xarray(u, U, coarse, time=[0.0], trajectories=[0], parameters={"viscosity": [0.1]})
    assert RANGES.reasons(state) == []
    assert len(RANGES.reasons(state.assign(u=state["u"] * 100).assign_attrs(state.attrs))) == 1


def test_it_is_written_read_and_bad_input_named(tmp_path: Path) -> None:
    RANGES.write(tmp_path)
    assert Ranges.read(tmp_path) == RANGES
    with pytest.raises(ValueError, match="split 'train' only"):
        Ranges.fit(data(split="valid"))
    with pytest.raises(ValueError, match="at least 1"):
        Ranges.fit(data(), margin=0.5)
    with pytest.raises(FileNotFoundError, match=r"Ranges\.fit"):
        Ranges.read(tmp_path / "no")
