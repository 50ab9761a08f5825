"""What a metric yields, and the integrals it is made of.

A metric is two maps: `statistics`, sums over space that add over chunks, machines and (where it says so) members; and `value`, their
ratios, taken last and per trajectory. `Quantity` says of each value what it means, over which dims it runs and in which units.

A forecast that is not finite has failed: from that frame on its statistics are not finite, and each value then takes the worst it can
(an error inf, a correlation 0) or, where there is no worst, NaN. It is never left out of a mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Domain, Metric
from surrogates.fields import Fields

Statistics = Mapping[str, Tensor]
CHANNEL, FIELD, WAVENUMBER, RANK = "channel", "field", "wavenumber", "rank"


@dataclass(frozen=True)
class Quantity:
    """One value (B, T, *dims): its formula, and its units as powers of length and of the units of its channel or field.

    `field` names the field whose units are meant where no dim says.
    """

    formula: str
    dims: tuple[str, ...]
    power: int = 0
    length: int = 0
    field: str = ""


class ScoreMetric(Metric, Protocol):
    """A Metric that names what it yields, so that `score` can label it."""

    @property
    def quantities(self) -> Mapping[str, Quantity]: ...


def integral(u: Float[Tensor, "B ..."], domain: Domain) -> Float[Tensor, "B ..."]:
    """The integral over the trailing space axes under the domain's measure, float64: (B, ..., *X) -> (B, ...)."""
    lead = u.ndim - len(domain.shape)
    return domain.integral(u.double().flatten(1, lead - 1)).reshape(u.shape[:lead])


def volume(truth: Float[Tensor, "B T C *X"], domain: Domain) -> Float[Tensor, "B 1 1"]:
    """The integral of one: a statistic, because the chunks of a domain have their own."""
    return integral(torch.ones_like(truth[:, :1, :1]), domain)


def mean_of(prediction: Float[Tensor, "B M T C *X"]) -> Float[Tensor, "B T C *X"]:
    """The ensemble mean, float64."""
    return prediction.double().mean(1)


def by_field(sums: Float[Tensor, "B T C ..."], fields: Fields) -> Float[Tensor, "B T F ..."]:
    """Sums over the channels of each field: its components and levels together."""
    return torch.stack([sums[:, :, fields.slice(name)].sum(2) for name in fields.names], 2)


def failed_as(worst: float, value: Tensor, sums: Tensor) -> Tensor:
    """`value`, and `worst` where the prediction's sums are not finite."""
    return torch.where(sums.isfinite(), value, worst)
