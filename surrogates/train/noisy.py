"""Training noise: the past is perturbed, the future is not, so that a model learns to come back from errors as small as its own.

    past <- past + sigma s e,   e ~ N(0, 1) at every frame, channel and point,   loss(past -> future)

s are the standard deviations of the training states, channel by channel. With increments as the target the model is asked for what leads
from the perturbed frame to the true next one: the choice gamma = 0 of MeshGraphNets, all of the noise corrected in one step. Values that
are held at named boundaries of a mesh are given, not made, and stay clean.
Source: Sanchez-Gonzalez et al., 2020, https://arxiv.org/abs/2002.09405; Pfaff et al., 2021, A.2.2, https://arxiv.org/abs/2010.03409.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Conditions, Noise
from surrogates.domains import Mesh
from surrogates.noise import AtStep
from surrogates.record import recorded
from surrogates.surrogate import Surrogate
from surrogates.train.strategies import Learner

PERTURBATION_DRAW = 1 << 21  # far from the draws of any refiner


@recorded
class NoisyPast:
    """One step from a perturbed past. `sigma`: in standard deviations of the states; `clean`: boundaries of a Mesh without noise.

    Raises ValueError for a sigma that is not positive and, when called, for a learner without statistics.
    """

    bundles = 1

    def __init__(self, sigma: float = 0.02, clean: tuple[str, ...] = ()) -> None:
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}; without noise train with OneStep")
        self.sigma, self.clean = sigma, tuple(clean)

    def __call__(
        self,
        surrogate: Learner,
        past: Float[Tensor, "B H C *X"],
        future: Float[Tensor, "B T C *X"],
        conditions: Conditions,
        noise: Noise,
        step: int,
        guess: nn.Module | None = None,
    ) -> Float[Tensor, " G"]:
        return surrogate.loss(self.perturbed(surrogate, past, conditions, noise), future, conditions, AtStep(noise, 0), guess)

    def perturbed(
        self, surrogate: Learner, past: Float[Tensor, "B H C *X"], conditions: Conditions, noise: Noise
    ) -> Float[Tensor, "B H C *X"]:
        """The past that the model is shown."""
        if not isinstance(surrogate, Surrogate):
            raise ValueError(f"NoisyPast scales noise by the statistics of a Surrogate, and a {type(surrogate).__name__} has none")
        normaliser = surrogate.normaliser
        noisy = normaliser.decode(normaliser.encode(past) + self.sigma * AtStep(noise, 0)(past, draw=PERTURBATION_DRAW))
        domain = conditions.domain
        if isinstance(domain, Mesh):
            for name in (n for n in self.clean if n in domain.names):
                noisy = torch.where(domain.boundary(name).to(past.device), past, noisy)
        return noisy
