"""Bridges: from a known state u at s = 1 to the data x at s = 0, through noise that vanishes at both ends,

    z(s) = a(s) x + b(s) u + sigma(s) w,       w = sqrt(tau) eps,       tau = 1 - s.

w has the law of a Wiener process at tau. With the drift per unit of tau, d = -(a' x + b' u + sigma' w), ' = d/ds, the diffusion

    dZ = E[d | Z, u] dtau + sigma dW,     Z = u at s = 1,

has at every s the law of z given u, so it carries the point u to a sample of x given u. So has, for any other strength g,

    dZ = (E[d | Z, u] + (g^2 - sigma^2)/2 score) dtau + g dW,      score = -E[w | Z, u] / (tau sigma),

and since (z, d) is linear in (x, w) with determinant D = a sigma' - a' sigma, a drift contains both ends: with p = z - b u and
q = -(d + b' u),    x = (sigma' p - sigma q)/D,    w = (a q - a' p)/D.

    own_diffusion        g = sigma                                        what is regressed drives it; no score is needed
    foellmer_diffusion   g^2 = 2 sigma^2 tau d/dtau ln(a / (sigma sqrt(tau)))
                         of all g the one whose paths suffer least (in relative entropy) from an error of the drift: a Foellmer process

Sources: Chen, Goldstein, Hua, Albergo, Boffi and Vanden-Eijnden, "Probabilistic forecasting with stochastic interpolants and Foellmer
processes", 2024, https://arxiv.org/abs/2403.13724 (alpha, beta, sigma there are b, a, sigma here; theorems 2.1 to 2.3, and a = tau^2,
b = sigma = 1 - tau); for the Brownian bridge, Liu et al., "I2SB", 2023, https://arxiv.org/abs/2302.05872.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from surrogates.record import recorded
from surrogates.refine.path import Time


class Bridge(ABC):
    """a, b, sigma and their derivatives; everything else follows. x is the data, u the state it starts from, w the Wiener value."""

    @abstractmethod
    def coefficients(self, s: Time) -> tuple[Time, Time, Time, Time, Time, Time]:
        """(a, b, sigma, a', b', sigma') at s."""

    def gain(self, s: Time) -> Time:
        """What drifts are counted in for a network: where sigma' is unbounded, so is the drift."""
        return 1.0

    @property
    def departs_blindly(self) -> bool:
        """Whether the drift at s = 1 is -b' u, whatever x: nothing to ask a network for."""
        return float(self.coefficients(1.0)[3]) == 0

    def interpolate(self, x: Float[Tensor, "B C *X"], u: Float[Tensor, "B C *X"], w: Float[Tensor, "B C *X"], s: Time) -> Tensor:
        """z = a x + b u + sigma w."""
        a, b, sigma, _, _, _ = self.coefficients(s)
        return a * x + b * u + sigma * w

    def drift(self, x: Float[Tensor, "B C *X"], u: Float[Tensor, "B C *X"], w: Float[Tensor, "B C *X"], s: Time) -> Tensor:
        """d = -(a' x + b' u + sigma' w), the target of the regression."""
        _, _, _, da, db, dsigma = self.coefficients(s)
        return -(da * x + db * u + dsigma * w)

    def data(self, z: Float[Tensor, "B C *X"], u: Float[Tensor, "B C *X"], d: Float[Tensor, "B C *X"], s: Time) -> Tensor:
        """The end point x that a drift points to; not at s = 1 where the bridge departs blindly."""
        a, b, sigma, da, db, dsigma = self.coefficients(s)
        return (dsigma * (z - b * u) + sigma * (d + db * u)) / (a * dsigma - da * sigma)

    def wiener(self, z: Float[Tensor, "B C *X"], u: Float[Tensor, "B C *X"], d: Float[Tensor, "B C *X"], s: Time) -> Tensor:
        """The w that a drift tells; s < 1."""
        a, b, sigma, da, db, dsigma = self.coefficients(s)
        return -(a * (d + db * u) + da * (z - b * u)) / (a * dsigma - da * sigma)

    def towards(self, z: Float[Tensor, "B C *X"], u: Float[Tensor, "B C *X"], x: Float[Tensor, "B C *X"], s: Time) -> Tensor:
        """The drift at z whose end point is x; needs sigma(s) > 0."""
        a, b, sigma, _, _, _ = self.coefficients(s)
        return self.drift(x, u, (z - a * x - b * u) / sigma, s)


@recorded
@dataclass(frozen=True)
class Foellmer(Bridge):
    """a = tau^2, b = 1 - tau, sigma = noise (1 - tau): the paper's bridge, of bounded drift. `noise` is in units of the scale."""

    noise: float = 1.0

    def __post_init__(self) -> None:
        _positive(self.noise)

    def coefficients(self, s: Time) -> tuple[Time, Time, Time, Time, Time, Time]:
        return (1 - s) ** 2, s, self.noise * s, -2 * (1 - s), 1.0, self.noise


@recorded
@dataclass(frozen=True)
class BrownianBridge(Bridge):
    """a = tau, b = 1 - tau, sigma = noise sqrt(1 - tau): a Wiener process of deviation `noise` that is tied to u and to x.

    Its drift grows as 1/sqrt(s) towards the data, so a network tells sqrt(s) d. With `foellmer_diffusion` g is `noise` throughout.
    """

    noise: float = 1.0

    def __post_init__(self) -> None:
        _positive(self.noise)

    def coefficients(self, s: Time) -> tuple[Time, Time, Time, Time, Time, Time]:
        root = s**0.5
        return 1 - s, s, self.noise * root, -1.0, 1.0, self.noise / (2 * root)

    def gain(self, s: Time) -> Time:
        return s**-0.5


def _positive(noise: float) -> None:
    if not noise > 0:
        raise ValueError(f"noise is {noise} but a bridge leaves its state by noise; give it a positive deviation, such as 1.0")


Diffusion = Callable[[Bridge, float], float]
"""g^2 at s < 1, the variance that the diffusion adds per unit of tau."""


def own_diffusion(bridge: Bridge, s: float) -> float:
    """g = sigma."""
    return float(bridge.coefficients(s)[2]) ** 2


def foellmer_diffusion(bridge: Bridge, s: float) -> float:
    """g^2 = 2 sigma^2 tau d/dtau ln(a / (sigma sqrt(tau))); (3 - tau)(1 - tau) noise^2 for `Foellmer`, noise^2 for `BrownianBridge`."""
    a, _, sigma, da, _, dsigma = (float(c) for c in bridge.coefficients(s))
    tau = 1 - s
    return 2 * sigma * tau * (dsigma - sigma * da / a) - sigma**2


FOELLMER = Foellmer()
"""The usual bridge, shared since it holds nothing."""
