"""Rolling diffusion as a Step: a window of T future frames, the later the noisier, slides over physical time.

    open     T frames of pure noise are denoised until frame 0 is clean and frame j is j/T of the way to noise
    roll     frame 0 leaves; a frame of pure noise comes; every frame is denoised by 1/T, in `evaluations` steps

So a frame costs `evaluations` evaluations (the first T times as many), yet has been through T times that number when it leaves, and
what lies further ahead stays as uncertain as it should. The window is carried in the step's state, so that a resumed rollout repeats
itself. Any network of a `DiffusionForcing` refiner serves that was trained at these levels; `Ramp` trains them alone.
Source: Ruhe, Heek, Salimans and Hoogeboom, "Rolling diffusion models", 2024, https://arxiv.org/abs/2402.09470.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.around import Around
from surrogates.constraints.compose import over_bundle
from surrogates.contracts import Conditions, Constraint, Domain, Noise, State
from surrogates.noise import AtStep
from surrogates.record import recorded
from surrogates.refine.conditioning import conditioned
from surrogates.refine.diffusion_forcing import DiffusionForcing
from surrogates.refine.flow import SOURCE_DRAW
from surrogates.refine.rolling import opening, rolling
from surrogates.refine.source import GaussianSource
from surrogates.surrogate import Surrogate


@recorded
class Rolling(Around, nn.Module):
    """`Step` that makes one frame a call from a purely generative surrogate whose refiner is `DiffusionForcing`.

    `evaluations` a frame; the schedule's levels are those of T times as many steps. The state is the surrogate's and the window
    "B (T-1)C *X", after the first call. With `correct_sampling` all frames of the window are under the law at every level. The
    surrogate's `coherence` is not used: what lies ahead is remembered in the window. Raises ValueError for another refiner, for a guess
    or a source that would change its frames' coordinates as they move up, and for levels that were not trained.
    """

    def __init__(self, surrogate: Surrogate, *, evaluations: int = 1) -> None:
        super().__init__()
        refiner = surrogate.refiner
        if not isinstance(refiner, DiffusionForcing) or surrogate.operator is not None or not isinstance(refiner.source, GaussianSource):
            raise ValueError(
                "a window rolls by a purely generative surrogate with DiffusionForcing(source=GaussianSource()), but here the refiner is "
                f"{type(refiner).__name__} and the guess {type(surrogate.operator).__name__}; train one without a guess"
            )
        if refiner.frames != surrogate.bundle:
            raise ValueError(f"the refiner has frames={refiner.frames} but the surrogate bundle={surrogate.bundle}; make them equal")
        if evaluations < 1:
            raise ValueError(f"evaluations is {evaluations} but each frame needs at least one")
        self.surrogate, self.evaluations = surrogate, evaluations
        levels = refiner.schedule.levels(evaluations * refiner.frames)
        self._opening, self._rolling = opening(levels, refiner.frames), rolling(levels, refiner.frames)
        refiner.check_trained(self._opening)
        refiner.check_trained(self._rolling)

    @property
    def within(self) -> Surrogate:
        return self.surrogate

    @property
    def bundle(self) -> int:
        return 1

    @property
    def domain(self) -> Domain:
        return self.surrogate.domain

    @property
    def dt(self) -> float:
        return self.surrogate.dt

    @property
    def generative(self) -> bool:
        """Members differ."""
        return True

    @property
    def constraint(self) -> Constraint | None:
        """The law that each frame is under as it leaves."""
        return self.surrogate.constraint

    def with_constraint(self, constraint: Constraint | None) -> Rolling:
        """The same window under another law, or none."""
        return Rolling(self.surrogate.with_constraint(constraint), evaluations=self.evaluations).train(self.training)

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        """The surrogate's own; the window comes with the first draws. Raises ValueError as `Surrogate.begin`."""
        return self.surrogate.begin(past, conditions)

    def forward(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B 1 C *X"], State]:
        """One frame, and the state with the rest of the window. Raises ValueError without noise."""
        if noise is None:
            raise ValueError("a rolling window is purely generative; pass noise (simulate does, from its seed)")
        surrogate, past = self.surrogate, state["past"]
        surrogate.check_dt(conditions)
        refiner = surrogate.refiner
        assert isinstance(refiner, DiffusionForcing)
        context, embedding, _ = surrogate.prepare(past, conditions)
        window, matrix = self._entered(state, past, conditions, AtStep(noise, int(state["step"])))
        network = conditioned(refiner.operator, None, context, embedding, conditions.domain)
        correct = refiner.lawful(refiner.frame(None, context), surrogate.correction(past, state, conditions))
        z, _ = refiner.denoise(network, window, matrix, conditions.domain, correct=correct)
        c = surrogate.fields.count
        unit = refiner.scale[:c].to(z.dtype).reshape(c, *(1,) * (z.ndim - 2))
        frame = surrogate.target.decode(unit * z[:, :c], past[:, -1], surrogate.normaliser)
        new: dict[str, Tensor] = {"step": state["step"] + 1, "window": z[:, c:]}
        if surrogate.constraint is not None:
            frame, new["reference"] = over_bundle(surrogate.constraint, frame, state["reference"], conditions, past)
        new["past"] = torch.cat([past, frame], 1)[:, -self.history :]
        return frame, new

    def _entered(
        self, state: State, past: Tensor, conditions: Conditions, draws: AtStep
    ) -> tuple[Float[Tensor, "B TC *X"], tuple[tuple[float, ...], ...]]:
        """The window with what has come in, all of it or its last frame, and the levels to follow."""
        refiner, window = self.surrogate.refiner, state.get("window")
        assert isinstance(refiner, DiffusionForcing)
        new = refiner.channels if window is None else refiner.channels // refiner.frames
        eps = draws(past.new_empty(past.shape[0], new, *past.shape[3:]), draw=SOURCE_DRAW)
        e = refiner.path.deviation() * refiner.source.colour(eps, conditions.domain)
        return (e, self._opening) if window is None else (torch.cat([window, e], 1), self._rolling)
