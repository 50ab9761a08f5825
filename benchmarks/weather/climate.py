"""The climatology that forecasts are compared with: the mean of the training frames at every point, of all or of each hour of the day.

    c_h(x) = mean over the training frames n at hour h of u_n(x)

Air over land is warmer in the afternoon whatever the weather: against one mean of all hours that cycle counts as an anomaly, which is easy
to forecast. Data whose times are dates are therefore compared by hour of the day; a sphere without a sun needs one mean. WeatherBench 2
also tells the days of the year apart, over thirty years of data; data of some days cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from verify import climatology

from surrogates.contracts import Conditions, Domain, Noise, State
from surrogates.fields import Fields
from surrogates.interchange import TIME, from_xarray, time_attrs_of, times_of
from surrogates.pde import Persistence

MINUTES = 24 * 60
OF_ALL = -1


@dataclass(frozen=True)
class Climate:
    """`means` (C, *X) by the minute of the day, float64, or one of all frames; `about` says how times are counted (units, calendar)."""

    means: Mapping[int, Tensor]
    about: Mapping[str, str]

    @classmethod
    def of(cls, train: xr.Dataset, domain: Domain, *, by_hour: bool) -> Climate:
        """From the training split. Raises ValueError where all frames of an hour have missing values, and for hours without dates."""
        frames, about = from_xarray(train), time_attrs_of(train)
        if not by_hour:
            return cls({OF_ALL: climatology(frames, domain)}, about)
        minutes = minute_of_day(times_of(train), about)
        return cls({int(m): climatology(frames[:, torch.from_numpy(minutes == m)], domain) for m in np.unique(minutes)}, about)

    def at(self, times: Float[Tensor, ...]) -> Float[Tensor, ...]:
        """(*times, C, *X), float64. Raises ValueError for an hour that no training frame has."""
        if OF_ALL in self.means:
            mean = self.means[OF_ALL]
            return mean.expand(*times.shape, *mean.shape)
        minutes = minute_of_day(times.numpy().ravel(), self.about)
        if unknown := sorted({int(m) for m in minutes} - set(self.means)):
            shown = [f"{m // 60:02d}:{m % 60:02d}" for m in unknown]
            raise ValueError(f"no training frame is at {shown}, so that there is no climatology of that hour")
        return torch.stack([self.means[int(m)] for m in minutes]).unflatten(0, times.shape)


def minute_of_day(times: NDArray[np.float64], about: Mapping[str, str]) -> NDArray[np.int64]:
    """Minutes since midnight, rounded. Raises ValueError for times that are no dates."""
    if "since" not in about.get("units", ""):
        raise ValueError(f"times in {about.get('units', '1')!r} have no hour of the day; leave out `climatology: by hour`")
    dates = xr.decode_cf(xr.Dataset(coords={TIME: (TIME, times, dict(about))}))[TIME].dt
    seconds = dates.hour * 3600 + dates.minute * 60 + dates.second
    return np.rint(seconds.values / 60).astype(np.int64) % MINUTES


class ByClimate(Persistence):
    """Forecasts the climatology of each frame's time."""

    def __init__(self, fields: Fields, climate: Climate) -> None:
        super().__init__(fields)
        self.climate = climate

    def __call__(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B 1 C *X"], State]:
        said = self.climate.at(conditions.time + conditions.dt).to(state["frame"])
        return said.unsqueeze(1), {**state, "step": state["step"] + 1}
