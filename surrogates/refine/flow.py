"""What all generators along a path share: the frame they run in, their scale, their start, and the calibration of what they made.

Calibration. At s = 1 the state z is pure source, independent of x given the context, so the end point that the first
velocity points to is the conditional mean m = E[x | context]. The generated x is stretched about it,

    x <- m + inflation (x - m),

which keeps the mean and multiplies the covariance by inflation^2, for every law. For a Gaussian law the exact flow is affine,
x = m + S e, and stretching equals inflating the source's deviation; for other laws inflating the source changes the mean too,
and asks the network about states that it was never trained on. It costs no evaluation. `inflation` is fitted on held-out data.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.refine.conditioning import check_channels, state_like
from surrogates.refine.coupling import INDEPENDENT, Coupling
from surrogates.refine.path import LINEAR, Path
from surrogates.refine.source import GAUSSIAN, Frame, PreviousSource, Source

Judge = Callable[[Tensor], Tensor]
"""From a state "B C *X" in the units of the truth to a loss a member, " G"."""

SOURCE_DRAW, TIME_DRAW, FRESH_DRAW = 0, 1, 2
"""The source; the times that are trained; the first of the draws on the way (of a sampler, or a refiner's own)."""


class Flow(nn.Module):
    """A refiner that leads from a source to the data; `channels` is C.

    The buffers `scale` (C; in normalised units) and `inflation` (scalar) are one until fitted.
    """

    scale: Tensor
    inflation: Tensor

    def __init__(
        self, operator: nn.Module, channels: int, path: Path = LINEAR, source: Source = GAUSSIAN, coupling: Coupling = INDEPENDENT
    ) -> None:
        super().__init__()
        self.operator, self.channels, self.path, self.source, self.coupling = operator, channels, path, source, coupling
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("inflation", torch.ones(()))

    @property
    def of_states(self) -> bool:
        """Whether what is generated must be a state: where the previous one is mixed into it, a tendency would have no meaning."""
        return isinstance(self.source, PreviousSource)

    def fit_scale(self, residuals: Float[Tensor, "N C *X"]) -> None:
        """Set `scale` to the root mean square per channel of truth - guess (or truth), normalised, training split.

        Raises ValueError where a channel is exactly zero or not finite.
        """
        rms = self._rms(residuals)
        if not bool((rms.isfinite() & (rms > 0)).all()):
            raise ValueError(f"residuals have root mean squares {rms.tolist()}; every channel must be finite and not exactly zero")
        self.scale.copy_(rms)

    def follow_scale(self, residuals: Float[Tensor, "B C *X"], keep: float = 0.95) -> None:
        """Move `scale` towards the residuals of a batch, of a guess that is itself being trained."""
        self.scale.lerp_(self._rms(residuals).to(self.scale), 1 - keep)

    def _rms(self, residuals: Float[Tensor, "N C *X"]) -> Float[Tensor, " C"]:
        check_channels(self.channels, residuals=residuals)
        return residuals.double().square().transpose(0, 1).flatten(1).mean(1).sqrt()

    def frame(self, guess: Float[Tensor, "B C *X"] | None, context: Float[Tensor, "B Cc *X"]) -> Frame:
        """The coordinates in which the flow runs."""
        c = self.channels
        scale = self.scale.to(context.dtype).reshape(c, *(1,) * (context.ndim - 2))
        return self.source.frame(guess, context[:, -c:] if context.shape[1] >= c else None, scale)

    def start(self, frame: Frame, context: Float[Tensor, "B Cc *X"], domain: Domain, noise: Draws) -> Float[Tensor, "B C *X"]:
        """z at s = 1."""
        eps = self.source.colour(noise(state_like(context, self.channels), draw=SOURCE_DRAW), domain)
        e = frame.mean + frame.std * eps
        far = self.path.deviation()
        return e if far == 1 else far * e

    def fresh(self, domain: Domain, noise: Draws, first: int = FRESH_DRAW) -> Callable[[Tensor, int], Tensor]:
        """Noise on the way for step k, coloured like the source's, of unit variance."""
        return lambda like, k: self.source.colour(noise(like, draw=first + k), domain)

    def pair(
        self, truth: Float[Tensor, "B C *X"], frame: Frame, context: Float[Tensor, "B Cc *X"], domain: Domain, noise: Draws
    ) -> tuple[Float[Tensor, "B C *X"], Float[Tensor, "B C *X"]]:
        """(x, e) to train on."""
        x = (truth - frame.shift) / frame.unit
        e = frame.mean + frame.std * self.source.colour(noise(truth, draw=SOURCE_DRAW), domain)
        return x, self.coupling(x, e, context)

    def lawful(self, frame: Frame, correct: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor] | None:
        """`correct`, which maps states in the units of the truth, in the coordinates of the flow."""
        if correct is None:
            return None
        return lambda x: (correct(frame.shift + frame.unit * x) - frame.shift) / frame.unit

    def judged(self, judge: Judge, frame: Frame, x: Float[Tensor, "B C *X"], times: Float[Tensor, " G"]) -> Float[Tensor, " G"]:
        """What a judge says of end points x, as far as z at these times knows them: a^2/(a^2 + b^2) of it."""
        a, b, _, _ = self.path.coefficients(times.double())
        known: Tensor = torch.as_tensor(a * a / (a * a + b * b))
        return known.to(x.device) * judge(frame.shift + frame.unit * x)

    def finish(
        self,
        frame: Frame,
        x: Float[Tensor, "B C *X"],
        mean: Float[Tensor, "B C *X"] | None,
        correct: Callable[[Tensor], Tensor] | None,
    ) -> Float[Tensor, "B C *X"]:
        """The state from the flow's end, stretched about the mean where that is known."""
        x = x if mean is None else torch.lerp(mean, x, self.inflation.to(x.dtype))
        u = frame.shift + frame.unit * x
        return u if correct is None else correct(u)
