"""Several heads, each for channels of its own: a flow by its stream function and what it carries in flux form.

    y = (y_1, .., y_n),    u' has the channels of head k from head k,

all from the same last frame, so that their order does not matter.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.heads.decode import SizedHead
from surrogates.normalise import Normaliser
from surrogates.record import recorded


@recorded
class SideBySide:
    """A Head of heads. Raises ValueError without any, and where two make the same channel."""

    def __init__(self, heads: tuple[SizedHead, ...]) -> None:
        if not heads:
            raise ValueError("SideBySide needs at least one head, such as SideBySide((StreamFunction(fields), FluxForm(fields, 'tracer')))")
        self.heads = tuple(heads)
        if len(set(self.made)) < len(self.made):
            raise ValueError(
                f"channels {sorted({c for c in self.made if self.made.count(c) > 1})} are made by two heads; give each its own field"
            )

    @property
    def made(self) -> tuple[int, ...]:
        """The channels of the state that they make."""
        return tuple(c for head in self.heads for c in head.made)

    def outputs(self, domain: Domain) -> int:
        """Those of all heads."""
        return sum(head.outputs(domain) for head in self.heads)

    def sizes(self, normaliser: Normaliser, domain: Domain, dt: float) -> Float[Tensor, " Cy"]:
        """What an output of 1 stands for, head after head."""
        return torch.cat([head.sizes(normaliser, domain, dt) for head in self.heads])

    def __call__(self, y: Float[Tensor, "B Cy *X"], past: Float[Tensor, "B H C *X"], conditions: Conditions) -> Float[Tensor, "B C *X"]:
        u, parts = past[:, -1], torch.split(y, [head.outputs(conditions.domain) for head in self.heads], 1)
        for head, part in zip(self.heads, parts, strict=True):
            index = torch.tensor(head.made, device=u.device)
            u = u.index_copy(1, index, head(part, past, conditions).index_select(1, index))
        return u
