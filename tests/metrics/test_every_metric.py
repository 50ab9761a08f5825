"""What every metric must pass: a version, labels for all it yields, additive statistics, units, order and failures."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from surrogates.contracts import Conditions, Metric
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.metrics import (
    NRMSE,
    VRMSE,
    Budget,
    Correlation,
    DivergenceDefect,
    EnergyScore,
    EnergySpectrum,
    EnstrophySpectrum,
    FairCRPS,
    RankHistogram,
    SpreadSkill,
    VorticityCorrelation,
)

FIELDS = Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("dye"))
POINTWISE = (
    NRMSE(FIELDS),
    VRMSE(FIELDS),
    Correlation(FIELDS),
    FairCRPS(),
    EnergyScore(FIELDS),
    SpreadSkill(),
    RankHistogram(),
    Budget(FIELDS),
)
WHOLE = (VorticityCorrelation(FIELDS), DivergenceDefect(FIELDS), EnergySpectrum(FIELDS), EnstrophySpectrum(FIELDS))
every = pytest.mark.parametrize("metric", POINTWISE + WHOLE, ids=lambda m: m.name)
pointwise = pytest.mark.parametrize("metric", POINTWISE, ids=lambda m: m.name)
SIZES = {"channel": 3, "field": 2, "rank": 6, "wavenumber": 4}
BOX = Box.periodic((6, 8), (1.0, 3.0))
Values = Callable[..., dict[str, torch.Tensor]]


def ensemble(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Five members, two rows, three frames."""
    generator = torch.Generator().manual_seed(0)
    truth = 1 + torch.randn(2, 3, 3, 6, 8, generator=generator, dtype=torch.float64)
    prediction = truth[:, None] + 0.3 + torch.randn(2, 5, 3, 3, 6, 8, generator=generator, dtype=torch.float64)
    return prediction.to(dtype), truth.to(dtype)


@every
def test_names_a_version_and_labels_what_it_yields(metric: Any, values: Values) -> None:
    assert isinstance(metric, Metric) and re.fullmatch(r"[a-z_]+\.v\d+", metric.name)
    found = values(metric, *ensemble(), BOX)
    assert found.keys() == metric.quantities.keys()
    for name, quantity in metric.quantities.items():
        assert tuple(found[name].shape) == (2, 3, *(SIZES[d] for d in quantity.dims)), name
        assert found[name].dtype == torch.float64 and quantity.formula
        assert found[name].isfinite().all() or name == "enstrophy_spectrum_ratio"  # no vorticity in the shell of the mean


@pointwise
def test_statistics_of_two_halves_of_space_add_up(metric: Any, at: Callable[[Box, int], Conditions]) -> None:
    x, y = ensemble()
    low = Box((2, 8), (0.0, 0.0), (1 / 3, 3.0), ("wall", "periodic"))
    high = Box((4, 8), (1 / 3, 0.0), (1.0, 3.0), ("wall", "periodic"))
    a = metric.statistics(x[..., :2, :], y[..., :2, :], low, at(low, 2))
    b = metric.statistics(x[..., 2:, :], y[..., 2:, :], high, at(high, 2))
    whole = metric.statistics(x, y, BOX, at(BOX, 2))
    assert whole.keys() == a.keys()
    for name in whole:
        torch.testing.assert_close(a[name] + b[name], whole[name], msg=name)


@every
def test_rows_and_frames_stand_alone(metric: Any, values: Values) -> None:
    x, y = ensemble()
    whole, part = values(metric, x, y, BOX), values(metric, x[1:, :, 2:], y[1:, 2:], BOX)
    for name in whole:
        torch.testing.assert_close(part[name], whole[name][1:, 2:], rtol=1e-12, atol=1e-14, equal_nan=True, msg=name)


@every
def test_the_order_of_members_does_not_matter(metric: Any, values: Values) -> None:
    x, y = ensemble()
    one, other = values(metric, x, y, BOX), values(metric, x[:, [3, 1, 4, 0, 2]], y, BOX)
    for name in one:
        torch.testing.assert_close(other[name], one[name], equal_nan=True, msg=name)


@every
def test_units_scale_each_value_by_the_power_it_declares(metric: Any, values: Values) -> None:
    """u -> 100 u of every field."""
    x, y = ensemble()
    one, other = values(metric, x, y, BOX), values(metric, 100 * x, 100 * y, BOX)
    for name, quantity in metric.quantities.items():
        torch.testing.assert_close(other[name], 100.0**quantity.power * one[name], equal_nan=True, msg=name)


@every
def test_sums_are_taken_in_float64(metric: Any, values: Values) -> None:
    x, y = ensemble(torch.float32)
    one, other = values(metric, x, y, BOX), values(metric, x.double(), y.double(), BOX)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-12, atol=1e-14, equal_nan=True, msg=name)


WORST = {
    "nrmse": torch.inf,
    "nrmse_field": torch.inf,
    "vrmse": torch.inf,
    "vrmse_field": torch.inf,
    "correlation": 0.0,
    "correlation_field": 0.0,
    "correlation_vorticity": 0.0,
    "crps": torch.inf,
    "energy_score": torch.inf,
    "spread": torch.inf,
    "skill": torch.inf,
    "spread_skill": torch.nan,
    "rank_histogram": torch.nan,
    "divergence": torch.inf,
    "mean": torch.nan,
    "energy": torch.nan,
    "energy_spectrum": torch.nan,
    "energy_spectrum_ratio": torch.nan,
    "energy_spectrum_distance": torch.inf,
    "enstrophy_spectrum": torch.nan,
    "enstrophy_spectrum_ratio": torch.nan,
    "enstrophy_spectrum_distance": torch.inf,
}


@every
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_one_failed_member_takes_the_worst_value_where_it_failed_and_nowhere_else(metric: Any, values: Values, bad: float) -> None:
    x, y = ensemble()
    whole = values(metric, x, y, BOX)
    x[1, 2, 1] = bad
    found = values(metric, x, y, BOX)
    for name in found:
        if not name.endswith("_truth"):
            worst = torch.full_like(found[name][1, 1], WORST[name])
            torch.testing.assert_close(found[name][1, 1], worst, equal_nan=True, msg=name)
        found[name][1, 1] = whole[name][1, 1]
        torch.testing.assert_close(found[name], whole[name], equal_nan=True, msg=name)
