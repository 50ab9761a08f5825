"""A trained surrogate is a Step: u[t+1..t+T] = constraint . decode . refiner . operator . encode (u[t-H+1..t]).

It alone knows about normalisation. It owns history, bundle, the map between the state and what is generated, the embedding of
PDE parameters and dt, and the closure `correct = encode . constraint . decode` that samplers apply to their end-point estimate.

An ensemble's members differ by the refiner's source draw. Model error changes as slowly as the state it depends on, so
draws that are white in time let it average out and leave an ensemble too narrow; `coherence` rho keeps them correlated,

    z_0 = e_0,   z_n = rho z_{n-1} + sqrt(1 - rho^2) e_n,      corr(z_n, z_m) = rho^|n-m|,

the first-order autoregressive pattern of stochastically perturbed tendencies (Buizza, Miller and Palmer, QJRMS 125, 1999;
Palmer et al., ECMWF Technical Memorandum 598, 2009). Each z_n is still a standard normal draw: one step's law is untouched.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.constraints.compose import law_names, over_bundle
from surrogates.constraints.soft import Soft, penalty
from surrogates.contracts import Conditions, Constraint, Domain, Draws, Noise, State
from surrogates.domains import Box, Masked, Patch, Sphere
from surrogates.domains.ends import ends_of_grid
from surrogates.fields import Fields
from surrogates.heads.decode import SizedHead, decode
from surrogates.known import Known
from surrogates.noise import AtStep
from surrogates.normalise import Normaliser
from surrogates.record import describe, recorded
from surrogates.refine.conditioning import member_mean
from surrogates.refine.flow import Flow
from surrogates.scaling import Scaling
from surrogates.target import Absolute, Target, Tendency

TIME_STEP = "dt"


@dataclass(frozen=True)
class Held:
    """`Draws` whose draw 0, the refiner's source, is given."""

    source: Tensor
    rest: Draws

    def __call__(self, like: Tensor, *, draw: int) -> Tensor:
        return self.source if draw == 0 else self.rest(like, draw=draw)


@recorded
class Surrogate(nn.Module):
    """A Step made of a deterministic guess (`operator`), a generative `refiner`, or both, under a `constraint`.

    `fields` are its input and output channels with units; `domain` and `dt` are those it was trained on (`dt` in time
    units; other steps only where "dt" is among `parameters`). `parameters` names the PDE parameters it is conditioned on.
    With `noise=None` a surrogate that has a guess returns the guess. `joint` trains guess and refiner together, the guess on its own
    squared error alone; else the guess is frozen once there is a refiner. A `head` makes its channels of the state from the guess, lawful
    by construction; the others follow `target`. `static` fields and `forcings` known ahead (at both ends of a bundle) come as further
    context channels, from the conditions. `soft` laws count in the loss alone. Raises ValueError where it lacks the parts.
    """

    coherence: Tensor
    parameter_mean: Tensor
    parameter_std: Tensor

    def __init__(
        self,
        fields: Fields,
        domain: Domain,
        dt: float,
        *,
        operator: nn.Module | None = None,
        refiner: nn.Module | None = None,
        constraint: Constraint | None = None,
        target: Target | None = None,
        history: int = 1,
        bundle: int = 1,
        parameters: tuple[str, ...] = (),
        correct_sampling: bool = False,
        joint: bool = False,
        head: SizedHead | None = None,
        static: Fields | None = None,
        forcings: Fields | None = None,
        soft: tuple[Soft, ...] = (),
        scaling: Scaling | None = None,
    ) -> None:
        super().__init__()
        if operator is None and refiner is None:
            raise ValueError("a Surrogate needs an operator (the guess), a refiner, or both")
        if joint and (operator is None or refiner is None):
            raise ValueError("joint training needs both an operator (the guess) and a refiner")
        if head is not None and refiner is not None:
            raise ValueError(
                f"a refiner draws states or increments, which {type(head).__name__} would not make; train without a head and give the law "
                "as a constraint, or without a refiner"
            )
        if correct_sampling and (refiner is None or constraint is None):
            raise ValueError(
                "correct_sampling puts a refiner's sampler under the constraint, but there is no "
                f"{'refiner' if refiner is None else 'constraint'}; give both, or leave correct_sampling out"
            )
        if history < 1 or bundle < 1 or not dt > 0:
            raise ValueError(f"history and bundle must be at least 1 and dt positive, got {history}, {bundle}, {dt}")
        frames = getattr(operator, "frames", bundle)
        if frames != bundle:
            raise ValueError(
                f"{type(operator).__name__} decodes frames={frames} at once but the surrogate has bundle={bundle}; make them equal"
            )
        self.fields, self.domain, self.dt = fields, domain, float(dt)
        self._dt_seen: Tensor | None = None
        self.operator, self.refiner, self.constraint = operator, refiner, constraint
        self.target, self.head = target or Tendency(), head
        if getattr(refiner, "of_states", False) and not isinstance(self.target, Absolute):
            raise ValueError(
                f"this {type(refiner).__name__} mixes the previous state into what it generates, so that must be a state too; "
                "write `target: Absolute`, in Python target=Absolute()"
            )
        self.history, self.bundle, self.parameters_used = history, bundle, tuple(parameters)
        self.correct_sampling, self.joint, self.soft = correct_sampling, joint, tuple(soft)
        self.static, self.forcings = static, forcings
        self.known = Known(static, forcings, len(domain.shape)) if static or forcings else None
        self.normaliser = Normaliser.identity(fields.count, len(domain.shape), scaling, fields, domain.shape)
        self.register_buffer("coherence", torch.zeros(()))
        self.register_buffer("parameter_mean", torch.zeros(len(parameters)))
        self.register_buffer("parameter_std", torch.ones(len(parameters)))

    @property
    def inputs(self) -> Fields:
        return self.fields

    @property
    def outputs(self) -> Fields:
        return self.fields

    @property
    def generative(self) -> bool:
        """Whether members differ: with noise the refiner samples, without it the guess is returned."""
        return self.refiner is not None

    @property
    def evaluations(self) -> int:
        """Network evaluations a call and row: of the guess, and of the refiner."""
        own = 0 if self.refiner is None else int(cast(Any, self.refiner).evaluations)
        return own + int(self.operator is not None)

    # -- the Step ----------------------------------------------------------------------------------------------

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        """The state that a rollout carries. Raises ValueError for a dt, a box or a parameter that it was not made for."""
        self._check(conditions)
        state = {"past": past, "step": torch.zeros((), dtype=torch.int64)}
        if self.constraint is not None:
            state["reference"] = self.constraint.reference(past[:, -1], conditions)
        return state

    def forward(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B T C *X"], State]:
        self.check_dt(conditions)
        past, step = state["past"], int(state["step"])
        context, embedding, guess = self.prepare(past, conditions)
        new: dict[str, Tensor] = {"step": state["step"] + 1}
        generated = guess
        if self.refiner is not None and noise is not None:
            latent = self._latent(state, past, noise, step)
            new["latent"] = latent
            draws = Held(latent, AtStep(noise, step))
            generated = self.refiner(guess, context, embedding, conditions.domain, draws, self.correction(past, state, conditions))
        if generated is None:
            raise ValueError("this surrogate is purely generative; pass noise (simulate does, from its seed)")
        future = self.decode(generated, past, conditions)
        future, reference = self._constrain(future, past, state, conditions)
        if reference is not None:
            new["reference"] = reference
        new["past"] = (future if future.shape[1] >= self.history else torch.cat([past, future], 1))[:, -self.history :]
        return future, new

    # -- training ----------------------------------------------------------------------------------------------

    def loss(
        self,
        past: Float[Tensor, "B H C *X"],
        future: Float[Tensor, "B T C *X"],
        conditions: Conditions,
        noise: Draws,
        guess: nn.Module | None = None,
        last: Float[Tensor, "B C *X"] | None = None,
    ) -> Float[Tensor, " G"]:
        """One loss a member: the refiner's where there is one, to which joint training adds the guess's; else mean squared error. Soft laws
        add their penalty on what the last of these made, before `constraint`.

        `guess` stands in for the operator, so that a refiner learns from residuals its own guess was not fitted to. `last` is the frame at
        the conditions' time, from which the budgets of soft laws count: the newest of `past`, unless a solver has gone ahead of it.
        """
        truth = self._encode(future, past[:, -1], conditions)
        last = past[:, -1] if last is None else last
        if self.refiner is None or self.joint:
            context, embedding, first = self.prepare(past, conditions)
            assert first is not None
            if self.head is not None:  # what it made, in the units of the truth
                first = self._encode(self.decode(first, past, conditions), past[:, -1], conditions)
            own = member_loss(dried(first - truth, conditions.domain).square(), conditions.domain)
            if self.refiner is None:
                return own + self._penalty(first, past, last, conditions) if self.soft else own
            if self.training and isinstance(self.refiner, Flow):
                self.refiner.follow_scale(wet(truth - first.detach(), conditions.domain))
            return own + self._refiner_loss(truth, first.detach(), context, embedding, past, last, conditions, noise)
        with torch.no_grad():
            context, embedding, first = self.prepare(past, conditions, guess)
        return self._refiner_loss(truth, first, context, embedding, past, last, conditions, noise)

    def prepare(
        self, past: Float[Tensor, "B H C *X"], conditions: Conditions, guess: nn.Module | None = None
    ) -> tuple[Float[Tensor, "B Cc *X"], Float[Tensor, "G E"] | None, Float[Tensor, "B K *X"] | None]:
        """Normalised context, embedding and guess: all that does not depend on refinement time, computed once a step."""
        context = self.normaliser.encode(past).flatten(1, 2)
        if self.known is not None:
            context = torch.cat([context, self.known(conditions, self.bundle, context)], 1)
        context = dried(context, conditions.domain)
        embedding = self.embed(conditions, context)
        operator = guess if guess is not None else self.operator
        return context, embedding, None if operator is None else operator(context, conditions.domain, embedding)

    def decode(
        self, generated: Float[Tensor, "B K *X"], past: Float[Tensor, "B H C *X"], conditions: Conditions
    ) -> Float[Tensor, "B T C *X"]:
        """The bundle, in physical units, that what was generated stands for: by the target, and the head where there is one."""
        if self.head is None:
            return dried(self.target.decode(generated, past[:, -1], self.normaliser), conditions.domain)
        sizes = self.head.sizes(self.normaliser, self.domain, self.dt)
        return dried(decode(self.head, sizes, generated, past, conditions, self.target, self.normaliser), conditions.domain)

    def embed(self, conditions: Conditions, like: Tensor) -> Float[Tensor, "G E"] | None:
        """Standardised parameters, and ln(dt / trained dt) where "dt" is among them; None where nothing is conditioned on."""
        if not self.parameters_used:
            return None
        raw = [torch.log(conditions.dt / self.dt) if n == TIME_STEP else conditions.parameter(n) for n in self.parameters_used]
        values = torch.stack([r.to(like.device, torch.float64) for r in raw], 1)
        return ((values - self.parameter_mean) / self.parameter_std).to(like.dtype)

    def with_refiner(self, refiner: nn.Module) -> Surrogate:
        """The same surrogate around another refiner, with which it is saved; everything else is shared."""
        return self._twin(refiner=refiner)

    def with_constraint(self, constraint: Constraint | None) -> Surrogate:
        """The same surrogate under another law, or none, with which it is saved and known; everything else is shared.

        A forecast begins anew with it: a state holds the references of the law that it began under.
        """
        lawful = {} if constraint is not None else {"correct_sampling": False}
        return self._twin(constraint=constraint, **lawful)

    def extra_repr(self) -> str:
        """The law, which is no module but makes another surrogate of the same modules."""
        return "" if self.constraint is None else f"constraint={', '.join(law_names(self.constraint))}"

    def _twin(self, **parts: Any) -> Surrogate:
        twin = copy.copy(self)
        twin.__dict__["_modules"] = dict(self._modules)
        for name, part in parts.items():
            setattr(twin, name, part)
        twin.__dict__["arguments"] = {**cast(Any, self).arguments, **parts}
        return twin

    # -- parts of a loss ---------------------------------------------------------------------------------------

    def _penalty(self, generated: Tensor, past: Tensor, last: Tensor, conditions: Conditions) -> Float[Tensor, " G"]:
        return penalty(self.soft, self.target.decode(generated, past[:, -1], self.normaliser), last, conditions)

    def _refiner_loss(
        self,
        truth: Tensor,
        guess: Tensor | None,
        context: Tensor,
        embedding: Tensor | None,
        past: Tensor,
        last: Tensor,
        conditions: Conditions,
        noise: Draws,
    ) -> Float[Tensor, " G"]:
        """The refiner's; soft laws judge its end point, or a sample where its loss tells none."""
        refiner, given = cast(Any, self.refiner), (guess, context, embedding, conditions.domain, noise)
        if not self.soft:
            return refiner.loss(truth, *given)  # type: ignore[no-any-return]
        if "judge" in inspect.signature(refiner.loss).parameters:
            return refiner.loss(truth, *given, judge=lambda x: self._penalty(x, past, last, conditions))  # type: ignore[no-any-return]
        return refiner.loss(truth, *given) + self._penalty(refiner(*given), past, last, conditions)  # type: ignore[no-any-return]

    # -- parts of a step ---------------------------------------------------------------------------------------

    def _latent(self, state: State, past: Tensor, noise: Noise, step: int) -> Tensor:
        shape = (past.shape[0], self.bundle * self.fields.count, *past.shape[3:])
        fresh = noise(past.new_empty(shape), step=step, draw=0)
        if "latent" not in state:
            return fresh
        rho = self.coherence.to(fresh)
        return rho * state["latent"] + (1 - rho.square()).sqrt() * fresh

    def _constrain(
        self, future: Tensor, past: Tensor, state: State, conditions: Conditions
    ) -> tuple[Float[Tensor, "B T C *X"], Float[Tensor, "G R"] | None]:
        if self.constraint is None:
            return future, None
        return over_bundle(self.constraint, future, state["reference"], conditions, past)

    def correction(self, past: Float[Tensor, "B H C *X"], state: State, conditions: Conditions) -> Callable[[Tensor], Tensor] | None:
        """encode . constraint . decode, for a sampler's end points; None without `correct_sampling`."""
        if not self.correct_sampling or self.constraint is None:
            return None
        last = past[:, -1]

        def correct(generated: Tensor) -> Tensor:
            future = self.decode(generated, last[:, None], conditions)
            future, _ = self._constrain(future, last[:, None], state, conditions)
            return self._encode(future, last, conditions)

        return correct

    def _encode(self, future: Tensor, last: Tensor, conditions: Conditions) -> Float[Tensor, "B TC *X"]:
        """What the target makes of frames, zero in dry cells, of which a transform may make anything."""
        return dried(self.target.encode(future, last, self.normaliser), conditions.domain)

    def _check(self, conditions: Conditions) -> None:
        if not alike(conditions.domain, self.domain):
            raise ValueError(f"this surrogate was trained on {self.domain} and cannot run on {conditions.domain}")
        if self.head is not None and ends_of_grid(conditions.domain) != ends_of_grid(self.domain):
            ours, theirs = (", ".join(ends_of_grid(d)) or "none" for d in (self.domain, conditions.domain))
            raise ValueError(f"this {type(self.head).__name__} was trained with open ends {ours} and cannot run with {theirs}")
        self.check_dt(conditions)
        for name in self.parameters_used:
            if name != TIME_STEP:
                conditions.parameter(name)

    def check_dt(self, conditions: Conditions) -> None:
        """At every step, since surroundings may change it; looked at once while it is the same tensor."""
        if conditions.dt is self._dt_seen:
            return
        if TIME_STEP not in self.parameters_used and bool(((conditions.dt - self.dt).abs() > 1e-6 * self.dt).any()):
            raise ValueError(
                f"this surrogate steps by dt={self.dt:g} but was asked for {conditions.dt.tolist()}; thin or interpolate the data"
            )
        self._dt_seen = conditions.dt


def member_loss(error: Float[Tensor, "B K *X"], domain: Domain) -> Float[Tensor, " G"]:
    """The mean over channels and, under the domain's measure, over space, one a member; dry cells do not count."""
    if isinstance(domain, Box) and not any(domain.edges):  # equal cells: all count alike
        return error.flatten(1).mean(1)
    return member_mean(error, domain).to(error.dtype)


def wet(u: Float[Tensor, "B C *X"], domain: Domain) -> Float[Tensor, "B C ..."]:
    """What lies in wet cells, all where there is no mask."""
    return u if domain.mask is None else u[..., domain.mask.to(u.device)]


def dried(u: Float[Tensor, "B ..."], domain: Domain) -> Float[Tensor, "B ..."]:
    """Zero in dry cells: what a network makes there has no meaning, and what a file holds there need not be a number."""
    return u if domain.mask is None else torch.where(domain.mask.to(u.device), u, 0.0)


MADE_FOR = ("fields", "dt", "history", "bundle", "parameters_used", "static", "forcings")
"""What two surrogates for the same states, steps and surroundings agree on, beside their domain."""


def unlike(one: Surrogate, other: Surrogate, names: Sequence[str] = MADE_FOR) -> list[str]:
    """Those of `names` in which two surrogates differ."""
    return [name for name in names if describe(getattr(one, name)) != describe(getattr(other, name))]


def alike(domain: Domain, trained: Domain) -> bool:
    """The same box or sphere at any resolution, with any coasts; any mesh, since a network for meshes is made for others too."""
    if isinstance(domain, Masked) and isinstance(trained, Masked):
        domain, trained = domain.box, trained.box
    if isinstance(domain, Box) and isinstance(trained, Box):
        return (domain.lower, domain.upper, domain.boundary) == (trained.lower, trained.upper, trained.boundary)
    if isinstance(domain, Patch) and isinstance(trained, Patch):
        return domain.with_shape((1, 1)) == trained.with_shape((1, 1))
    if isinstance(domain, Sphere) and isinstance(trained, Sphere):
        return (domain.radius, domain.units) == (trained.radius, trained.units)
    return type(domain) is type(trained)
