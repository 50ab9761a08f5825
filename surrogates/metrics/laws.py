"""By how much a forecast misses its laws, beside the truth: the largest defect of each law, with the budgets of the truth at that lead.

A forecast that was projected shows rounding here; what is worth looking at is one that was not, and the truth, which keeps the law only as
far as its own solver and its storage do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.compose import law_names, remaining
from surrogates.contracts import Conditions, Constraint, Domain
from surrogates.metrics.quantity import Quantity, Statistics, failed_as


@dataclass(frozen=True)
class LawDefects:
    """Of the members, averaged over them. Failed: inf. Needs the whole of the domain at once. `conditions` are those of the last lead.

    One value for each law of a composition, "defect_" and its name.
    """

    law: Constraint
    name = "defects.v1"

    @property
    def quantities(self) -> Mapping[str, Quantity]:
        return {
            f"defect_{n}{which}": Quantity(f"largest |defect| of {n}, {of}", ())
            for n in law_names(self.law)
            for which, of in (("", "mean over members"), ("_truth", "of the truth"))
        }

    def statistics(
        self, prediction: Float[Tensor, "B M T C *X"], truth: Float[Tensor, "B T C *X"], domain: Domain, conditions: Conditions
    ) -> Mapping[str, Float[Tensor, "B T"]]:
        found: dict[str, list[Tensor]] = {}
        for t, y in enumerate(truth.unbind(1)):
            here = conditions.after(t + 1 - truth.shape[1])
            reference = self.law.reference(y, here)
            members = [self._worst(u, reference, here) for u in prediction[:, :, t].unbind(1)]
            for n, value in self._worst(y, reference, here).items():
                found.setdefault(f"defect_{n}", []).append(torch.stack([m[n] for m in members]).mean(0))
                found.setdefault(f"defect_{n}_truth", []).append(value)
        return {n: torch.stack(values, 1) for n, values in found.items()}

    def value(self, statistics: Statistics) -> Mapping[str, Tensor]:
        return {n: failed_as(float("inf"), v, v) for n, v in statistics.items()}

    def _worst(self, u: Tensor, reference: Tensor, conditions: Conditions) -> dict[str, Tensor]:
        """Of every law by the name it has in the outer composition."""
        out: dict[str, Tensor] = {}
        for n, d in remaining(self.law, u, reference, conditions).items():
            outer, worst = n.split("/")[0], d.abs().amax(1)
            out[outer] = torch.maximum(out[outer], worst) if outer in out else worst
        return out
