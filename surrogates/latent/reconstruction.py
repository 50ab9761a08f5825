"""How an autoencoder is trained: the mean square of u - D(E(u)), u the last frame that a window knows, in normalised units.

It is a strategy of training (`train.strategies`), so that everything else of a run (data, averages of weights, resuming, saving) is the
usual; and an autoencoder is a surrogate's operator whose one-step forecast is its reconstruction.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Conditions, Noise
from surrogates.record import recorded
from surrogates.refine.conditioning import member_mean
from surrogates.surrogate import Surrogate


@recorded
class Reconstruction:
    """`Strategy`: one frame through the operator and back. What it trains is no forecast, so validation does not roll it out."""

    bundles = 1
    forecasts = False

    def __init__(self) -> None:
        pass

    def __call__(
        self,
        surrogate: Surrogate,
        past: Float[Tensor, "B H C *X"],
        future: Float[Tensor, "B T C *X"],
        conditions: Conditions,
        noise: Noise,
        step: int,
        guess: nn.Module | None = None,
    ) -> Float[Tensor, " G"]:
        """One loss a member, float64. Raises ValueError for a surrogate without an operator."""
        if surrogate.operator is None:
            raise ValueError("Reconstruction trains an Autoencoder as the operator of a surrogate without a refiner; leave `refiner` out")
        u = surrogate.normaliser.encode(past[:, -1])
        return member_mean((surrogate.operator(u, conditions.domain) - u).square(), conditions.domain)
