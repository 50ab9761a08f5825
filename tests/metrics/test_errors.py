"""nRMSE, VRMSE and correlation: worked by hand, by their reference forecasts, and beside `scores` and numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.metrics import NRMSE, VRMSE, Correlation, VorticityCorrelation, curl

ONE = Fields.of(Field("u"))
FLOW = Fields.of(Field("velocity", "1", ("x", "y")))
Values = Callable[..., dict[str, torch.Tensor]]


def line(*values: float) -> torch.Tensor:
    """(B, T, C, x) = (1, 1, 1, n)."""
    return torch.tensor(values, dtype=torch.float64)[None, None, None]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_by_hand(values: Values) -> None:
    """y = (1, 2, 3, 4), two members whose mean is (2, 2, 3, 6): squared errors 1, 0, 0, 4; <y^2> = 7.5; var y = 1.25."""
    box, y = Box.periodic((4,), 1.0), line(1, 2, 3, 4)
    p = torch.stack([line(2, 2, 3, 6) - 1, line(2, 2, 3, 6) + 1], 1)
    assert values(NRMSE(ONE), p, y, box)["nrmse"].item() == pytest.approx((1.25 / 7.5) ** 0.5)
    assert values(VRMSE(ONE), p, y, box)["vrmse"].item() == pytest.approx(1)
    expected = np.corrcoef([2, 2, 3, 6], [1, 2, 3, 4])[0, 1]
    assert values(Correlation(ONE), p, y, box)["correlation"].item() == pytest.approx(expected)


def test_cells_count_by_their_size(values: Values) -> None:
    """Cells of width 1 and 3 are four cells of width 1, three of them alike."""
    stretched, equal = Box((2,), (0.0,), (4.0,), ("wall",), ((0.0, 1.0, 4.0),)), Box.periodic((4,), 4.0)
    for metric in (NRMSE(ONE), VRMSE(ONE), Correlation(ONE)):
        one = values(metric, line(1, 5)[:, None], line(2, 3), stretched)
        other = values(metric, line(1, 5, 5, 5)[:, None], line(2, 3, 3, 3), equal)
        for name in one:
            torch.testing.assert_close(one[name], other[name])


def test_reference_forecasts(values: Values) -> None:
    """Zero has nRMSE 1, the spatial mean VRMSE 1, the truth 0, 0 and correlation 1, its negative -1."""
    box, y = Box.periodic((5, 4), 1.0), 3 + noise(2, 3, 2, 5, 4)
    torch.testing.assert_close(values(NRMSE(FLOW), 0 * y[:, None], y, box)["nrmse"], torch.ones(2, 3, 2).double())
    mean = y.mean((-2, -1), keepdim=True).expand(y.shape)
    torch.testing.assert_close(values(VRMSE(FLOW), mean[:, None], y, box)["vrmse"], torch.ones(2, 3, 2).double())
    assert not values(NRMSE(FLOW), y[:, None], y, box)["nrmse"].any()
    torch.testing.assert_close(values(Correlation(FLOW), 2 * y[:, None] - 5, y, box)["correlation"], torch.ones(2, 3, 2).double())
    torch.testing.assert_close(values(Correlation(FLOW), -y[:, None], y, box)["correlation_field"], -torch.ones(2, 3, 1).double())


def test_components_are_taken_together_before_the_ratio(values: Values) -> None:
    """A field's nRMSE is that of its components laid end to end."""
    box, y, p = Box.periodic((6,), 1.0), noise(1, 1, 2, 6), noise(1, 1, 1, 2, 6, seed=1)
    long = Box.periodic((12,), 1.0)
    whole = values(NRMSE(ONE), p.reshape(1, 1, 1, 1, 12), y.reshape(1, 1, 1, 12), long)["nrmse"]
    torch.testing.assert_close(values(NRMSE(FLOW), p, y, box)["nrmse_field"], whole)
    centred = (p - p.mean(-1, keepdim=True)).reshape(1, 1, 1, 1, 12), (y - y.mean(-1, keepdim=True)).reshape(1, 1, 1, 12)
    together = values(Correlation(ONE), *centred, long)["correlation"]
    torch.testing.assert_close(values(Correlation(FLOW), p, y, box)["correlation_field"], together)


def test_agrees_with_scores(values: Values) -> None:
    scores = pytest.importorskip("scores", reason="scores (pip install 'pde-surrogates[eval]') is the peer here")
    box, y, p = Box.periodic((6, 5), 1.0), 2 + noise(1, 1, 1, 6, 5), 2 + noise(1, 1, 1, 1, 6, 5, seed=1)
    forecast, observed = (xr.DataArray(a.numpy().reshape(6, 5), dims=("x", "y")) for a in (p, y))
    rmse = float(scores.continuous.rmse(forecast, observed))
    assert values(NRMSE(ONE), p, y, box)["nrmse"].item() == pytest.approx(rmse / float((observed**2).mean()) ** 0.5)
    pearson = float(scores.continuous.correlation.pearsonr(forecast, observed))
    assert values(Correlation(ONE), p, y, box)["correlation"].item() == pytest.approx(pearson)


def test_correlation_does_not_see_gain_or_offset(values: Values) -> None:
    box, y, p = Box.periodic((6, 5), 1.0), noise(1, 1, 2, 6, 5), noise(1, 3, 1, 2, 6, 5, seed=1)
    one, other = values(Correlation(FLOW), p, y, box), values(Correlation(FLOW), 7 * p + 300, 0.1 * y - 20, box)
    for name in one:
        torch.testing.assert_close(one[name], other[name])


def test_a_constant_has_no_correlation(values: Values) -> None:
    box, y = Box.periodic((6, 5), 1.0), noise(1, 1, 2, 6, 5)
    found = values(Correlation(FLOW), torch.full_like(y[:, None], 0.1), y, box)
    assert found["correlation"].isnan().all() and found["correlation_field"].isnan().all()


def test_vorticity_correlation_is_that_of_the_curl(values: Values) -> None:
    box, y, p = Box.periodic((6, 8), (1.0, 2.0)), noise(2, 2, 2, 6, 8), noise(2, 3, 2, 2, 6, 8, seed=1)
    expected = values(Correlation(ONE), curl(p.mean(1), box)[:, None], curl(y, box), box)["correlation"][..., 0]
    torch.testing.assert_close(values(VorticityCorrelation(FLOW), p, y, box)["correlation_vorticity"], expected)


def test_curl_of_a_gradient_vanishes_and_of_rotation_is_known() -> None:
    box = Box.periodic((8, 8, 8), 2 * torch.pi)
    x, y, z = box.grid()
    gradient = torch.stack([torch.cos(x) * torch.sin(y), torch.sin(x) * torch.cos(y), torch.cos(z)])[None, None]
    assert curl(gradient, box).abs().max() < 1e-13
    abc = torch.stack([torch.sin(z) + torch.cos(y), torch.sin(x) + torch.cos(z), torch.sin(y) + torch.cos(x)])[None, None]
    torch.testing.assert_close(curl(abc, box), abc)  # Arnold-Beltrami-Childress: its own curl


def test_vorticity_needs_a_vector_with_one_component_an_axis(values: Values) -> None:
    with pytest.raises(ValueError, match="one component an axis"):
        values(VorticityCorrelation(FLOW), noise(1, 1, 1, 2, 4), noise(1, 1, 2, 4), Box.periodic((4,), 1.0))
    with pytest.raises(KeyError, match="did you mean 'velocity'"):
        values(VorticityCorrelation(FLOW, "velocit"), noise(1, 1, 1, 2, 4, 4), noise(1, 1, 2, 4, 4), Box.periodic((4, 4), 1.0))
    with pytest.raises(ValueError, match="two or three dimensions"):
        curl(noise(1, 1, 2, 4), Box.periodic((4,), 1.0))
