"""The variance of an ensemble, wave by wave: V_n = sum over |k| nearest n dk of E|u_k - E u_k|^2, beside that of true members.

u_k are Fourier coefficients, so that all shells together give the variance averaged over space (Parseval). It tells at which scales an
ensemble is too narrow: a generative forecast may have the right spread as a whole and none in the small waves. Variances are divided by
M - 1, hence unbiased for any number of members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.fields import Fields
from surrogates.metrics.quantity import FIELD, WAVENUMBER, Quantity, Statistics, by_field, failed_as
from surrogates.metrics.shells import shell_spectrum


@dataclass(frozen=True)
class VarianceSpectrum:
    """Of members and of true members, components together. Failed (one member is enough): NaN. Needs a whole periodic Box.

    The ratio of one trajectory is noisy in the first shells, which hold few waves: average both spectra over trajectories first.
    Raises ValueError for one member on either side.
    """

    fields: Fields
    name = "variance_spectrum.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        over, formula = (FIELD, WAVENUMBER), "sum E|u_k - E u_k|^2 over the shell"
        return {
            "variance_spectrum": Quantity(formula + ", of the members", over, 2),
            "variance_spectrum_truth": Quantity(formula + ", of the true members", over, 2),
            "variance_spectrum_ratio": Quantity("variance over that of the true members; NaN where they have none", over),
        }

    def coordinates(self, domain: Domain) -> Mapping[str, Any]:
        return {}

    def statistics(self, x: Float[Tensor, "B M T C *X"], y: Float[Tensor, "B N T C *X"], domain: Domain) -> Mapping[str, Tensor]:
        return {"variance": variances(x, domain), "truth": variances(y, domain)}

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        v, truth = (by_field(statistics[n], self.fields) for n in ("variance", "truth"))
        nan = float("nan")
        return {
            "variance_spectrum": failed_as(nan, v, v),
            "variance_spectrum_truth": truth,
            "variance_spectrum_ratio": torch.where(v.isfinite() & (truth > 0), v / truth, nan),
        }


def variances(u: Float[Tensor, "B M T C *X"], domain: Domain) -> Float[Tensor, "B T C S"]:
    """Shell sums of the unbiased variance over members."""
    b, m = u.shape[:2]
    if m < 2:
        raise ValueError("a variance needs at least two members; leave VarianceSpectrum out for a single forecast")
    deviation = u.double() - u.double().mean(1, keepdim=True)
    shells = shell_spectrum(deviation.flatten(0, 1), domain)
    return 2 / (m - 1) * shells.reshape(b, m, *shells.shape[1:]).sum(1)
