"""Integrals kept by scaling, u I / integral(u): a field that is nowhere negative stays so, and zeros stay zeros.

Of all fields with the integral I this is the nearest one in relative entropy, integral(v log(v/u) - v + u): every point gives in
proportion to what it has. It is also the correction of `weighted` with the variance u / measure. A field that nearly cancels has no
such scale, and one whose integral has the sign opposite to I none that keeps its sign: those members take the additive shift of
`integral` instead, which always reaches I.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.integral import ConservedIntegral, shifted
from surrogates.contracts import Conditions
from surrogates.record import recorded

CANCELLED = 1e-6
"""|integral(u)| below this share of integral(|u|) is as good as rounding in float32; 1 for a field of one sign."""


@recorded
class ScaledIntegral(ConservedIntegral):
    """`ConservedIntegral` for a field of one sign, such as a density: the same budgets (`decay`, `forced`, `inflow`), held by scaling.

    Where integral(u) and I differ in sign, or |integral(u)| < 1e-6 integral(|u|) (so also where u is 0), the channel is shifted as
    by ConservedIntegral: the integral holds, the sign of the field then may not.
    """

    def __call__(
        self,
        u: Float[Tensor, "B C *X"],
        reference: Float[Tensor, "G R"],
        conditions: Conditions,
        past: Float[Tensor, "B H C *X"] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """The scaled field with the integrals `reference`; sums and factor in float64, rounded once to the type of u."""
        v, domain = self.channels.cut(u), conditions.domain
        now = domain.integral(v)
        sound = (now * reference >= 0) & (now.abs() > CANCELLED * domain.integral(v.abs()))
        factor = torch.where(sound, reference / torch.where(sound, now, 1.0), 1.0)
        scaled = v * domain.expand(factor)
        sound_here = domain.expand(sound.double()) > 0
        return self.channels.put(u, torch.where(sound_here, scaled, shifted(v, reference, domain)))
