"""Guidance without training: evidence about the end point bends a trained flow towards the posterior.

At level s a velocity tells the end point x(z) = E[x | z], and Tweedie's formula the covariance of what it leaves open,

    V = cov(x | z) = (b^2/a) J D,    J = dx/dz,    D the covariance of the source.

Evidence is a misfit r(x) of unit variance at the true state, r = (y - A(x))/error for an observation, with G = -dr/dx. Where x | z is
normal and A linear, the posterior's end point is Kalman's, with S = I + G V G^T; all methods here are of the form

    x' = x + V G^T S^-1 r(x),        v' = the velocity from z towards x'.

    PosteriorSampling     S = max(1, |r|/sqrt(N)) / scale             one product with J^T an evaluation
    MomentMatching        S = I + G V G^T, by conjugate residuals     one product with J^T an iteration (`moment_matching`)
    EndPoint              the same with V = b^2/(a^2 + b^2) D         none: the network is not differentiated

The first is DPS: it takes x(z) for x itself, so its S lacks G V G^T, and with it the gradient of log p(y | z) is too large while z is
noisy: the posterior comes out too narrow, about a mean at the observation or past it, and the flow is stiff. The damping by |r| is that
paper's step size, zeta/|y - A(x)|, in units of the error, and ends where the error begins.

V is J D for couplings that are independent (a transport coupling breaks Tweedie's formula) and noise/data ratios that are finite: where
a < floor b, as at s = 1, V is read where a = floor b, one step along the flow, which costs an evaluation more. V changes there by
1 + O(floor^2), while an error of the network's J counts 1/floor times.

Sources: Chung et al., "Diffusion posterior sampling for general noisy inverse problems", 2022, https://arxiv.org/abs/2209.14687;
Song et al., "Pseudoinverse-guided diffusion models", 2023, https://openreview.net/forum?id=9_gsMA8MRKQ (V of unit data);
those of `moment_matching`; the posterior's end point, Kalman, 1960, as applied level by level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.record import recorded
from surrogates.refine.conditioning import check_channels
from surrogates.refine.conjugate import LinearMap, linearised, update
from surrogates.refine.coupling import Independent
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.source import WHITE, Frame
from surrogates.refine.teacher import Student

Misfit = Callable[[Tensor], Tensor]
"""r: an end point "B C *X" -> "B N", of unit variance at the truth."""


@runtime_checkable
class Guidance(Protocol):
    """The posterior's end point. `through` is V by the network, `around` V of data with unit variance.

    `pullbacks` counts the calls of `through`.
    """

    @property
    def pullbacks(self) -> int: ...
    def __call__(self, x: Tensor, misfit: Misfit, through: LinearMap, around: LinearMap) -> Tensor: ...


@recorded
class PosteriorSampling:
    """DPS: the gradient of the misfit's square through the network, `scale` times. Raises ValueError for a scale that is not positive."""

    pullbacks = 1

    def __init__(self, scale: float = 1.0) -> None:
        if not scale > 0:
            raise ValueError(f"scale is {scale} but it multiplies the pull of the evidence; write 1.0 for a start")
        self.scale = scale

    def __call__(self, x: Float[Tensor, "B C *X"], misfit: Misfit, through: LinearMap, around: LinearMap) -> Float[Tensor, "B C *X"]:
        r, _, pull = linearised(misfit, x)
        size = r.double().square().mean(1, keepdim=True).sqrt().clamp(min=1).to(r.dtype)
        return x + through(pull(self.scale * r / size))


@recorded
class EndPoint:
    """The end point moved as if data were white with unit variance: no derivative of the network.

    Exact for white data of unit variance. For others the covariance is wrong, the more the larger s is, and what is not measured follows
    only through the network's next evaluations. Raises ValueError for iterations < 1.
    """

    pullbacks = 0

    def __init__(self, iterations: int = 4) -> None:
        check_iterations(iterations)
        self.iterations = iterations

    def __call__(self, x: Float[Tensor, "B C *X"], misfit: Misfit, through: LinearMap, around: LinearMap) -> Float[Tensor, "B C *X"]:
        return x + update(misfit, x, around, self.iterations)


class Guided(nn.Module):
    """`Refiner` for one occasion: a trained `refiner`, bent by a misfit of what it generates (in its units, as `correct` has them).

    Not trained and not differentiable; `inflation`, if fitted, stretches about the first guided end point. `floor` as above.
    """

    def __init__(self, refiner: nn.Module | None, misfit: Misfit, guidance: Guidance, *, floor: float = 0.1) -> None:
        super().__init__()
        if isinstance(refiner, FlowMatching) and (isinstance(refiner, Student) or not isinstance(refiner.coupling, Independent)):
            raise TypeError(
                f"guidance reads a covariance that only independent pairs of source and data give, not {type(refiner).__name__} with "
                f"{refiner.coupling}; guide the flow that it was made from, or weigh its samples, with Particles or BestOf"
            )
        if not isinstance(refiner, FlowMatching):
            raise TypeError(
                f"guidance bends the velocity of a FlowMatching but {type(refiner).__name__} has none; "
                "weigh its samples instead, with Particles or BestOf"
            )
        if not floor > 0:
            raise ValueError(f"floor is {floor} but it bounds a/b from below where the covariance is read; write 0.1 for a start")
        self.refiner, self.misfit, self.guidance, self.floor = refiner, misfit, guidance, floor

    @property
    def evaluations(self) -> int:
        """Network evaluations a call, without the products with J^T."""
        visited = self._visited()
        extra = sum(self._read_at(s) != s for s in visited) if self.guidance.pullbacks else 0
        return len(visited) + extra

    @property
    def pullbacks(self) -> int:
        """Products with J^T a call; each costs about two evaluations."""
        return self.guidance.pullbacks * len(self._visited())

    def forward(
        self,
        guess: Float[Tensor, "B C *X"] | None,
        context: Float[Tensor, "B Cc *X"],
        embedding: Float[Tensor, "G E"] | None,
        domain: Domain,
        noise: Draws,
        correct: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "B C *X"]:
        """One sample of the posterior a row; works under no_grad and inference_mode."""
        with torch.inference_mode(False), torch.enable_grad():
            guess, context = None if guess is None else ordinary(guess), ordinary(context)
            embedding = None if embedding is None else ordinary(embedding)
            check_channels(self.refiner.channels, guess=guess)
            frame = self.refiner.frame(guess, context)
            flow = self.refiner.velocity(frame, guess, context, embedding, domain)
            with torch.no_grad():
                return self.refiner.follow(self.bent(flow, frame, domain), frame, context, domain, noise, correct)

    def bent(self, flow: Callable[[Tensor, float], Tensor], frame: Frame, domain: Domain) -> Callable[[Tensor, float], Tensor]:
        """The velocity of the posterior, from that of the prior in the coordinates of `frame`."""
        path, source, network = self.refiner.path, self.refiner.source, self.guidance.pullbacks > 0

        def misfit(x: Tensor) -> Tensor:
            return self.misfit(frame.shift + frame.unit * x)

        def data(z: Tensor, s: float) -> Tensor:
            return path.data(z, flow(z, s), s)

        def spread(w: Tensor) -> Tensor:
            """D w, D = std colour colour^T std."""
            if source.colour == WHITE:
                return frame.std * (frame.std * w)
            (back,) = torch.func.vjp(lambda e: frame.std * source.colour(e, domain), torch.zeros_like(w))[1](w)
            return frame.std * source.colour(back, domain)

        def velocity(z: Tensor, s: float) -> Tensor:
            t, (a, b) = self._read_at(s) if network else s, path.ends(s)
            with torch.set_grad_enabled(network):
                point = ordinary(z).detach().requires_grad_(network)
                x = data(point, s)
                best, ahead = x.detach(), x
                if t != s:
                    c, d = path.ends(t)
                    point = (c * best + d * (z - a * best) / b).requires_grad_()
                    ahead = data(point, t)

            def through(w: Tensor) -> Tensor:
                c, d = path.ends(t)
                (pulled,) = torch.autograd.grad(ahead, point, w, retain_graph=True)
                return spread(d * d / c * pulled)

            def around(w: Tensor) -> Tensor:
                return spread(b * b / (a * a + b * b) * w)

            best = self.guidance(best, misfit, through, around)
            return path.velocity_from_data(z, best, s)

        return velocity

    def loss(self, *_: object) -> Tensor:
        """Raises TypeError: what is guided was trained before."""
        raise TypeError("a guided refiner is made for sampling; train the refiner that it guides")

    def _visited(self) -> list[float]:
        r, calls = self.refiner, cast(list[float], [])

        def velocity(z: Tensor, s: float) -> Tensor:
            calls.append(s)
            return z

        r.sampler(velocity, torch.zeros(()), r.schedule.levels(r.steps), r.path, lambda like, k: like)
        return calls

    def _read_at(self, s: float) -> float:
        """The level where V is read: s, or one with a = floor b (or the nearest below that is visited, where that is not trained)."""
        r, floor = self.refiner, self.floor

        def clear(t: float) -> bool:
            a, b = r.path.ends(t)
            return a >= floor * b * (1 - 1e-9)

        if clear(s):
            return s
        t = r.path.at(1 / floor)
        if r.schedule.trains(t):
            return t
        return next((t for t in r.schedule.levels(r.steps) if t > 0 and clear(t)), s)


def check_iterations(iterations: int) -> None:
    """Raise ValueError unless iterations >= 1."""
    if iterations < 1:
        raise ValueError(f"iterations is {iterations} but conjugate residuals need at least one; write 2 for a start")


def ordinary(u: Tensor) -> Tensor:
    """u, as a tensor that autograd takes: what inference mode made is copied."""
    return u.clone() if u.is_inference() else u
