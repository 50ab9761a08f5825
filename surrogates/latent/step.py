"""A forecast in latent space: u[t+1..t+T] = constraint . D . surrogate . E (u[t-H+1..t]).

The past is encoded once, when a forecast begins. From then on latents are carried from step to step, and decoded to be looked at: the
decoder's errors do not come back, a step costs one decoder beside the surrogate, and a forecast that was stopped goes on with the same
bits. A law acts on the decoded fields alone, with the budget of the initial state.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from surrogates.constraints.compose import over_bundle
from surrogates.contracts import Conditions, Constraint, Domain, Noise, State
from surrogates.deep_ensemble import DeepEnsemble
from surrogates.fields import Fields
from surrogates.latent.conversion import autoencoder_of, decode, encode, latent_conditions
from surrogates.record import recorded
from surrogates.surrogate import Surrogate

BUDGET = "budget"
"""Where the state keeps the reference of the law on decoded fields."""


@recorded
class Latent(nn.Module):
    """A Step from physical fields to physical fields through `autoencoder`, forecast by `surrogate` between.

    `autoencoder` is a surrogate whose operator is an `Autoencoder`; `surrogate` one of its latents, or an ensemble of such.
    `constraint` acts on decoded fields.
    Raises ValueError where the two do not belong together.
    """

    def __init__(self, autoencoder: Surrogate, surrogate: Surrogate | DeepEnsemble, constraint: Constraint | None = None) -> None:
        super().__init__()
        network = autoencoder_of(autoencoder)
        box = network.latent_box(autoencoder.domain)
        if surrogate.inputs.count != network.latent or surrogate.domain != box:
            raise ValueError(
                f"the autoencoder has {network.latent} latents on {box} but the surrogate {surrogate.inputs.count} on {surrogate.domain}; "
                "train it on what `encode_dataset` makes with this autoencoder"
            )
        self.autoencoder, self.surrogate, self.constraint = autoencoder, surrogate, constraint

    @property
    def inputs(self) -> Fields:
        return self.autoencoder.fields

    @property
    def outputs(self) -> Fields:
        return self.autoencoder.fields

    @property
    def history(self) -> int:
        return self.surrogate.history

    @property
    def bundle(self) -> int:
        return self.surrogate.bundle

    @property
    def domain(self) -> Domain:
        return self.autoencoder.domain

    @property
    def dt(self) -> float:
        return self.surrogate.dt

    @property
    def generative(self) -> bool:
        """Whether members differ."""
        return self.surrogate.generative

    @property
    def evaluations(self) -> int:
        """Network evaluations a member and bundle in latent space; one decoder comes to each frame."""
        return self.surrogate.evaluations

    def with_constraint(self, constraint: Constraint | None) -> Latent:
        """The same under another law on decoded fields, or none; what the surrogate of latents has stays."""
        return Latent(self.autoencoder, self.surrogate, constraint).train(self.training)

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        """The state that a rollout carries: the surrogate's own, and the law's reference. Raises ValueError as the surrogate does."""
        state = dict(self.surrogate.begin(encode(self.autoencoder, past, conditions.domain), self._inner(conditions)))
        if self.constraint is not None:
            state[BUDGET] = self.constraint.reference(past[:, -1], conditions)
        return state

    def forward(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B T C *X"], State]:
        made: tuple[Tensor, State] = self.surrogate(state, self._inner(conditions), noise)
        future, new = decode(self.autoencoder, made[0], conditions.domain), dict(made[1])
        if self.constraint is None:
            return future, new
        future, reference = over_bundle(self.constraint, future, state[BUDGET], conditions)
        return future, {**new, BUDGET: reference}

    def _inner(self, conditions: Conditions) -> Conditions:
        return latent_conditions(self.autoencoder, conditions)
