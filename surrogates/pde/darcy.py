"""Darcy flow through two kinds of rock, and diffusion with rough coefficients of a given contrast: two families of steady maps.

    Darcy      k = contrast where a smooth random field is positive, else 1;  f = 1
    ConDiff    log k = log(contrast) (g - min g)/(max g - min g) - log(contrast)/2,  g smooth and random;  f white noise of variance 1

In both max k/min k is the contrast exactly, a parameter, and u = 0 on the walls (`surrogates.pde.steady`). Darcy with contrast 4 is, up
to the law of the random field and a factor 3, the problem on which neural operators were first compared.

Sources: Li et al., Fourier neural operator, 2020, https://arxiv.org/abs/2010.08895, A.3.2; Trifonov et al., ConDiff, 2024,
https://arxiv.org/abs/2406.04709. The random fields are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Fields
from surrogates.noise import SeededNoise
from surrogates.pde.coefficients import Constant, Parameters
from surrogates.pde.steady import COEFFICIENT, SOURCE, Steady, gaussian
from surrogates.record import recorded

WHITE = 1  # the draw of the source; the coefficient has draw 0


class Contrasted(Steady):
    """Parameter by name: contrast >= 1. `waves` is the number of the random field's waves along the shortest side."""

    def __init__(
        self,
        resolution: int | Sequence[int] | None = None,
        *,
        max_dt: float = 1.0,
        dtype: torch.dtype | str | None = None,
        contrast: Constant = None,
        waves: float | int = 4.0,
    ) -> None:
        super().__init__(resolution, max_dt, dtype, {"contrast": contrast})
        if not waves > 0:
            raise ValueError(f"waves must be positive, got {waves}")
        self.waves = waves

    def parameters(self, conditions: Conditions) -> Parameters:
        """Raises ValueError for a contrast below 1."""
        p = super().parameters(conditions)
        if not bool((p["contrast"] >= 1).all()):
            raise ValueError(f"contrast is the largest coefficient over the least, at least 1, got {p['contrast'].tolist()}")
        return p

    def contrast(self, conditions: Conditions, domain: Box) -> Float[Tensor, "R 1 *one"]:
        """A row each, broadcastable over space."""
        return self.parameters(conditions)["contrast"].reshape(-1, 1, *(1,) * domain.dim)


@recorded
class Darcy(Contrasted):
    """Two coefficients, f = 1."""

    def draw_static(self, domain: Box, trajectories: Sequence[int], seed: int, *, conditions: Conditions) -> Float[Tensor, "B 1 *X"]:
        g = gaussian(domain, trajectories, seed, self.waves)
        return torch.where(g > 0, self.contrast(conditions, domain), 1.0)


@recorded
class ConDiff(Contrasted):
    """Log-Gaussian coefficients, f white noise of each cell."""

    static_fields = Fields.of(COEFFICIENT, SOURCE)

    def draw_static(self, domain: Box, trajectories: Sequence[int], seed: int, *, conditions: Conditions) -> Float[Tensor, "B 2 *X"]:
        g = gaussian(domain, trajectories, seed, self.waves)
        least, most = (of(g.flatten(1), 1).reshape(-1, 1, *(1,) * domain.dim) for of in (torch.amin, torch.amax))
        log_k = self.contrast(conditions, domain).log() * ((g - least) / (most - least) - 0.5)
        white = SeededNoise(seed, trajectories, [0] * len(trajectories))(torch.empty_like(g), step=0, draw=WHITE)
        return torch.cat([log_k.exp(), white], 1)
