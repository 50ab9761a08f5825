"""Energy and enstrophy spectra against the truth's: shell sums E_n, their ratio, and the log-spectral distance

    sqrt(mean_n (log10 E_n - log10 E_n^truth)^2),

over the shells 1 <= n that the grid holds whole and in which the truth has more than 1e-12 of its energy (below that a float32 truth is
rounding). The spectrum of a forecast is the mean of its members' spectra: that of their mean would be too smooth. One frame of one
trajectory has few modes in its first shells, so for a statement on the climate average spectra first, then take ratios.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.fields import Fields
from surrogates.metrics.quantity import FIELD, WAVENUMBER, Quantity, Statistics, by_field, failed_as
from surrogates.metrics.shells import shell_spectrum
from surrogates.metrics.vorticity import curl, vector_slice

FLOOR = 1e-12


@dataclass(frozen=True)
class EnergySpectrum:
    """Of the members, components together: 1/2 |u_k|^2. Failed: spectrum and ratio NaN, distance inf. Needs a whole periodic Box."""

    fields: Fields
    name = "energy_spectrum.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return _quantities("energy", "1/2 sum |u_k|^2", Quantity("", (FIELD,), 2))

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Float[Tensor, "B T C S"]]:
        return {"spectrum": _of_members(prediction, domain), "truth": shell_spectrum(truth, domain)}

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        p, y = (by_field(statistics[n], self.fields) for n in ("spectrum", "truth"))
        return _compare("energy", p, y)


@dataclass(frozen=True)
class EnstrophySpectrum:
    """Of the members' vorticity: 1/2 |w_k|^2. Failed: spectrum and ratio NaN, distance inf. Needs a whole periodic Box."""

    fields: Fields
    field: str = "velocity"
    name = "enstrophy_spectrum.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return _quantities("enstrophy", f"1/2 sum |w_k|^2, w = curl {self.field}", Quantity("", (), 2, -2, self.field))

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Float[Tensor, "B T W S"]]:
        v = vector_slice(self.fields, self.field, domain)
        b, m = prediction.shape[:2]
        w = curl(prediction[:, :, :, v].double().flatten(0, 1), domain)
        members = w.reshape(b, m, *w.shape[1:])
        return {"spectrum": _of_members(members, domain), "truth": shell_spectrum(curl(truth[:, :, v].double(), domain), domain)}

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        return _compare("enstrophy", statistics["spectrum"].sum(2), statistics["truth"].sum(2))


def log_spectral_distance(spectrum: Float[Tensor, "... S"], truth: Float[Tensor, "... S"]) -> Tensor:
    """sqrt(mean_n (log10 ratio)^2) over n >= 1 where the truth has energy; inf where the spectrum is not finite, NaN without any shell."""
    counted = _counted(truth)[..., 1:]
    square = torch.where(counted, (spectrum / truth)[..., 1:].log10().square(), 0.0)
    distance = (square.sum(-1) / counted.sum(-1)).sqrt()
    return failed_as(float("inf"), distance, spectrum.sum(-1))


def _counted(truth: Float[Tensor, "... S"]) -> Bool[Tensor, "... S"]:
    return truth > FLOOR * truth.sum(-1, keepdim=True)


def _of_members(prediction: Float[Tensor, "B M T C *X"], domain: Domain) -> Float[Tensor, "B T C S"]:
    b, m = prediction.shape[:2]
    shells = shell_spectrum(prediction.flatten(0, 1), domain)
    return shells.reshape(b, m, *shells.shape[1:]).mean(1)


def _compare(name: str, spectrum: Tensor, truth: Tensor) -> Mapping[str, Tensor]:
    nan = float("nan")
    return {
        f"{name}_spectrum": failed_as(nan, spectrum, spectrum),
        f"{name}_spectrum_truth": truth,
        f"{name}_spectrum_ratio": torch.where(spectrum.isfinite() & _counted(truth), spectrum / truth, nan),
        f"{name}_spectrum_distance": log_spectral_distance(spectrum, truth),
    }


def _quantities(name: str, formula: str, of: Quantity) -> Mapping[str, Quantity]:
    """The labels of `_compare`; `of` has the dims and units of one shell."""
    over = (*of.dims, WAVENUMBER)
    return {
        f"{name}_spectrum": replace(of, dims=over, formula=formula + " over the shell, mean over members"),
        f"{name}_spectrum_truth": replace(of, dims=over, formula=formula + " over the shell, of the truth"),
        f"{name}_spectrum_ratio": Quantity("spectrum over that of the truth; NaN where the truth has none", over),
        f"{name}_spectrum_distance": Quantity("sqrt(mean (log10 spectrum / truth)^2) over shells n >= 1", of.dims),
    }
