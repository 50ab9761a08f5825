"""How long a forecast can be trusted: a confidence at each lead, measured on validation forecasts, and the lead up to which it holds.

    confidence(t, s) = P( error(t') < share * climatology's for all t' <= t  |  the ensemble's spread at t is s )

The error is that of the ensemble mean, the root of the mean over channels of <(m - y)^2>/sigma^2 with the climate's deviations sigma, so
that climatology's own is 1; the spread is measured likewise. Frequencies are counted over validation forecasts in cells of lead and spread,
drawn towards those of the lead by one more case (cells may hold few or none), and made non-increasing in lead and in spread, which
confidence is (`isotonic`). Between leads it is interpolated, before the first it falls from 1; beyond the last nothing was measured and
it is 0. Its own reliability is measured on another split (`reliability`): a confidence of .8 should come true 8 times in 10.

    trust = Trust.fit(forecast, truth, climate=surrogate.normaliser.state_std.flatten().tolist());  trust.write("runs/demo")
    forecast = Trust.read("runs/demo").apply(forecast);  forecast["valid_lead"], forecast["confidence"]
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.dates import numbered
from surrogates.forecast.isotonic import falling_both_ways
from surrogates.forecast.reliability import reliability
from surrogates.interchange import LEAD, MEMBER, SECONDS, SINCE, TIME, TRAJECTORY, domain_of, fields_of, from_xarray, time_attrs_of
from surrogates.metrics.align import aligned
from surrogates.record import construct, describe, recorded

FILE = "trust.json"
BLOCK = 2**22
"""Values in memory at a time."""
Array = NDArray[np.float64]


@recorded
@dataclass(frozen=True)
class Trust:
    """What was measured: `confidence` at each of `leads` (`units`, those of dt) and bin of spread between `edges`, from `cases` forecasts.

    `climate` are deviations, one a channel; `level` is the confidence that `valid_lead` asks for. `laws` (names), `deterministic` and
    `members` (1: one forecast) say how the forecasts were run, None where that is not known; a file from before units were kept is one of
    leads without, "1". Raises ValueError for a table of another size.
    """

    climate: tuple[float, ...]
    leads: tuple[float, ...]
    edges: tuple[float, ...]
    confidence: tuple[tuple[float, ...], ...]
    cases: int
    share: float = 0.5
    level: float = 0.8
    laws: tuple[str, ...] | None = None
    deterministic: bool | None = None
    members: int | None = None
    units: str = "1"

    def __post_init__(self) -> None:
        if len(self.confidence) != len(self.leads) or any(len(row) != len(self.edges) + 1 for row in self.confidence):
            raise ValueError(f"confidence must have {len(self.leads)} rows of {len(self.edges) + 1} numbers, one a lead and bin of spread")
        if not 0 < self.level < 1 or not self.share > 0:
            raise ValueError(f"level must lie between 0 and 1 and share be positive, got {self.level} and {self.share}")

    @classmethod
    def fit(
        cls, forecast: xr.Dataset, truth: xr.Dataset, climate: Sequence[float], *, bins: int = 4, share: float = 0.5, level: float = 0.8
    ) -> Trust:
        """Count on forecasts of another split than the one trained on. Without members, or with bins=1, spread plays no part.

        Raises ValueError where forecast and truth do not meet, for fewer than two forecasts, and for the training split.
        """
        if truth.attrs.get("split") == "train":
            raise ValueError("confidence measured on the training split would be too high; forecast the split 'valid'")
        forecast, truth = aligned(forecast, truth)
        held = errors(forecast, truth, climate) < share
        s = spreads(forecast, climate)
        if len(held) < 2:
            raise ValueError("confidence is a frequency over forecasts; fit it on two trajectories at least, better a hundred")
        edges = () if s is None else _edges(s, bins)
        cell = np.zeros(held.shape, int) if s is None else np.searchsorted(np.asarray(edges), np.where(np.isfinite(s), s, np.inf))
        count, yes = (_counted(cell, weight, len(edges) + 1) for weight in (np.ones(held.shape), held.astype(float)))
        of_lead = held.mean(0)[:, None]  # non-increasing already: what was lost is not found again
        table = falling_both_ways((yes + of_lead) / (count + 1), count + 1)
        leads = tuple(forecast[LEAD].values.astype(float).tolist())
        return cls(
            tuple(climate), leads, edges, tuple(map(tuple, table.clip(0, 1).tolist())), len(held), share, level, units=unit_of(forecast)
        )

    def differs(self, laws: Sequence[str], deterministic: bool, members: int) -> str:
        """In what a run is not of the kind that was measured, in words; empty where it is, as far as that is known."""
        said: list[str] = []
        if self.laws is not None and set(self.laws) != set(laws):
            said.append(f"under {_listed(self.laws)} but this run was under {_listed(laws)}")
        if self.deterministic is not None and self.deterministic != deterministic:
            said.append(f"{_drawn(self.deterministic)} but this run was {_drawn(deterministic)}")
        if self.members is not None and self.members != members:
            said.append(f"with {self.members} member{'s'[: self.members - 1]} but this run had {members}")
        elif self.edges and members < 2:
            said.append("by the spread of members but this run had none")
        return "" if not said else "trust was measured " + ", ".join(said)

    def of(self, forecast: xr.Dataset) -> xr.DataArray:
        """The confidence (trajectory, time) of a forecast; 0 where it has failed or was not measured.

        Raises ValueError for leads in another unit, but for lengths of time that are known, which are converted, for other fields, and
        for a forecast without the members by whose spread it was measured.
        """
        s, failed = spreads(forecast, self.climate), ~finite(forecast)
        if s is None and self.edges:
            raise ValueError("this confidence was measured by spread but the forecast has no members; forecast with members=")
        cell = np.zeros(failed.shape, int) if s is None else np.searchsorted(np.asarray(self.edges), np.where(failed, np.inf, s))
        leads = numbered(forecast)[LEAD].values.astype(float) * self._units_in(unit_of(forecast))
        values = np.take_along_axis(self._at(leads)[None], cell[..., None], 2)[..., 0]
        values = np.minimum.accumulate(np.where(failed, 0.0, values), 1)
        meaning = f"probability that the error has stayed below {self.share:g} of climatology's, from {self.cases} validation forecasts"
        return xr.DataArray(values, dims=(TRAJECTORY, TIME), attrs={"long_name": meaning, "units": "1"})

    def _units_in(self, unit: str) -> float:
        """How many of the units of `leads` one of another is."""
        if unit == self.units:
            return 1.0
        if unit in SECONDS and self.units in SECONDS:
            return SECONDS[unit] / SECONDS[self.units]
        raise ValueError(
            f"this confidence was measured at leads in {self.units!r} but those of this forecast are in {unit!r}; measure it on data in "
            "that unit, with `surrogates trust`, or give the data their unit"
        )

    def _at(self, leads: Array) -> Array:
        """The table at other leads, (T, bins)."""
        known, table = np.array([0.0, *self.leads]), np.array([[1.0] * (len(self.edges) + 1), *self.confidence])
        within = leads <= known[-1] * (1 + 1e-6)
        out: Array = np.stack([np.interp(leads, known, column) for column in table.T], 1) * within[:, None]
        return out

    def apply(self, forecast: xr.Dataset) -> xr.Dataset:
        """The forecast with coordinates `confidence` (trajectory, time) and `valid_lead` (trajectory), the last lead at `level` or more."""
        confidence = self.of(forecast)
        leads = numbered(forecast)[LEAD].values.astype(float)
        until = (confidence.values >= self.level).sum(1)
        valid = np.where(until > 0, leads[np.maximum(until, 1) - 1], 0.0)
        about = {"long_name": f"last lead with a confidence of {self.level:g} or more", "units": unit_of(forecast)}
        if TRAJECTORY not in forecast.dims:
            return forecast.assign_coords(confidence=(TIME, confidence.values[0], confidence.attrs), valid_lead=((), valid[0], about))
        return forecast.assign_coords(confidence=confidence, valid_lead=(TRAJECTORY, valid, about))

    def reliability(self, forecast: xr.Dataset, truth: xr.Dataset, bins: int = 10) -> xr.Dataset:
        """How the confidence comes true on other forecasts, such as those of the test split (`forecast.reliability`)."""
        forecast, truth = aligned(forecast, truth)
        return reliability(self.of(forecast).values, errors(forecast, truth, self.climate) < self.share, bins)

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Beside a saved surrogate, as JSON."""
        path = Path(folder) / FILE
        part = path.with_suffix(".part")
        part.write_text(json.dumps(describe(self), indent=1))
        os.replace(part, path)
        return path

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Trust:
        """Raises FileNotFoundError where nothing was measured, and ValueError for another content."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: nothing was measured yet; Trust.fit(forecast, truth, climate).write({str(folder)!r})"
            )
        found = construct(json.loads(path.read_text()))
        if not isinstance(found, cls):
            raise ValueError(f"{path} holds a {type(found).__name__}, not a Trust")
        return found


def unit_of(forecast: xr.Dataset) -> str:
    """The unit of its leads, which is that of dt."""
    said = numbered(forecast)[LEAD].attrs.get("units") or time_attrs_of(forecast).get("units", "1")
    return str(said).partition(SINCE)[0]


def _listed(laws: Sequence[str]) -> str:
    return f"the laws {', '.join(laws)}" if laws else "no laws"


def _drawn(deterministic: bool) -> str:
    return "without noise" if deterministic else "with noise"


def _edges(spread: Array, bins: int) -> tuple[float, ...]:
    """Between as many bins of equal counts; none where the spread hardly varies."""
    if np.nanmax(spread) - np.nanmin(spread) <= 1e-3 * np.nanmax(spread):
        return ()
    return tuple(np.unique(np.nanquantile(spread, np.arange(1, bins) / bins)).tolist())


def _counted(cell: NDArray[np.int64], weight: Array, bins: int) -> Array:
    """Sums of weights (N, T) by lead and cell, (T, bins)."""
    return np.stack([np.bincount(c, w, bins) for c, w in zip(cell.T, weight.T, strict=True)])


def errors(forecast: xr.Dataset, truth: xr.Dataset, climate: Sequence[float]) -> Array:
    """The largest error up to each lead, (trajectory, time), in units of climatology's; inf from where a member failed on."""
    domain = domain_of(forecast)
    pairs = zip(_blocks(forecast, climate), _blocks(truth, climate), strict=True)
    found = np.concatenate([_norm(m.mean(1) - y[:, 0], domain) for m, y in pairs])
    worst: Array = np.maximum.accumulate(np.nan_to_num(found, nan=np.inf), 1)
    return worst


def spreads(forecast: xr.Dataset, climate: Sequence[float]) -> Array | None:
    """The members' deviation about their mean (with M - 1), (trajectory, time), in units of the climate's; None without two members."""
    if forecast.sizes.get(MEMBER, 1) < 2:
        return None
    return np.concatenate([_norm(u.std(1), domain_of(forecast)) for u in _blocks(forecast, climate)])


def finite(forecast: xr.Dataset) -> NDArray[np.bool_]:
    """Where every member has a frame, (trajectory, time)."""
    ones = [1.0] * fields_of(forecast).count
    return np.concatenate([u.isfinite().flatten(3).all(3).all(1).numpy() for u in _blocks(forecast, ones)])


def _blocks(dataset: xr.Dataset, climate: Sequence[float]) -> Iterator[Float[Tensor, "B M T C *X"]]:
    """Some trajectories at a time, without members M = 1, in units of the climate's deviation."""
    fields = fields_of(dataset)
    if len(climate) != fields.count:
        raise ValueError(f"the climate has {len(climate)} deviations but the fields are {fields.channels}; give one a channel")
    rows = dataset.sizes.get(TRAJECTORY, 1)
    each = sum(dataset[v].size for f in fields for v in f.variables) // rows
    some = max(1, BLOCK // each)
    for first in range(0, rows, some):
        part = dataset.isel({TRAJECTORY: slice(first, first + some)}) if TRAJECTORY in dataset.dims else dataset
        u = from_xarray(part, fields, torch.float64)
        u = u if MEMBER in dataset.dims else u[:, None]
        yield u / u.new_tensor(list(climate)).reshape(-1, *(1,) * (u.ndim - 4))


def _norm(u: Float[Tensor, "B T C *X"], domain: Domain) -> Array:
    """The root of the mean square over channels and space, under the domain's measure, (B, T)."""
    volume = domain.integral(torch.ones_like(u[:1, 0, :1]))
    square = domain.integral(u.square().flatten(0, 1)) / volume
    out: Array = square.mean(1).sqrt().reshape(u.shape[:2]).numpy()
    return out
