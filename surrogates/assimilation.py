"""Data assimilation and super-resolution with a trained surrogate: a Step that samples p(next frames | past, evidence).

    sensors = Sensors.at(domain, [[0.3], [1.7]], channels=0, error=0.05)
    step = Assimilation(surrogate, Observed(Series(sensors, times, values)))
    analysis = simulate(step, initial, frames=50, members=16)

Evidence speaks of physical frames (`refine.evidence`: sensors, coarse fields, budgets, the equation, a law), the refiner of normalised
tendencies or states; between them lies the surrogate's own decoder, which is affine. So the misfit of a generated g is

    r(g) = misfit(decode(g)),

and guidance (`refine.guidance`) bends the refiner's flow by it. Frames for which there is no evidence are the surrogate's own, bit for
bit. Where the surrogate has a constraint it is applied after, as always: evidence that contradicts a law gives way to it.

This samples each step given its own evidence and the past that it arrived at: a filter whose past is not revised. Error in the initial
state is corrected only as far as the surrogate spreads in one step; `refine.resampling` weighs members over many.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.around import Around
from surrogates.contracts import Conditions, Noise, State
from surrogates.refine.evidence import BundleMisfit, Evidence
from surrogates.refine.guidance import Guidance, Guided, ordinary
from surrogates.refine.moment_matching import MomentMatching
from surrogates.surrogate import Surrogate


class Assimilation(Around, nn.Module):
    """A `Step`: the surrogate, guided where there is evidence.

    `guidance` is how (moment matching, unless given), `floor` where it reads its covariance. Raises TypeError for a surrogate whose
    refiner has no velocity, and ValueError where there is evidence but no noise.
    """

    def __init__(self, surrogate: Surrogate, evidence: Evidence, guidance: Guidance | None = None, *, floor: float = 0.1) -> None:
        super().__init__()
        self.surrogate, self.evidence, self.floor = surrogate, evidence, floor
        self.guidance = guidance or MomentMatching()
        Guided(surrogate.refiner, lambda x: x, self.guidance, floor=floor)  # refuses what it cannot guide

    @property
    def within(self) -> Surrogate:
        return self.surrogate

    @property
    def generative(self) -> bool:
        """Members differ."""
        return True

    @property
    def evaluations(self) -> int:
        """Network evaluations of a call with evidence, the guess among them, but not the `pullbacks`."""
        return self._guided(lambda x: x).evaluations + int(self.surrogate.operator is not None)

    @property
    def pullbacks(self) -> int:
        """Products with the network's transposed Jacobian of a call with evidence; each costs about two evaluations."""
        return self._guided(lambda x: x).pullbacks

    def begin(self, past: Float[Tensor, "B H C *X"], conditions: Conditions) -> State:
        return self.surrogate.begin(past, conditions)

    def forward(self, state: State, conditions: Conditions, noise: Noise | None = None) -> tuple[Float[Tensor, "B T C *X"], State]:
        with torch.inference_mode(False):
            last = ordinary(state["past"][:, -1])
            misfit = self.evidence(last, _ordinary(conditions), self.bundle)
        if misfit is None:
            return self.surrogate.forward(state, conditions, noise)
        if noise is None:
            raise ValueError("evidence guides a sampler but there is no noise to sample from; pass noise (simulate does, from its seed)")
        return self.surrogate.with_refiner(self._guided(self._of_generated(misfit, last))).forward(state, conditions, noise)

    def _of_generated(self, misfit: BundleMisfit, last: Tensor) -> BundleMisfit:
        target, normaliser = self.surrogate.target, self.surrogate.normaliser
        return lambda generated: misfit(target.decode(generated, last, normaliser))

    def _guided(self, misfit: BundleMisfit) -> Guided:
        return Guided(self.surrogate.refiner, misfit, self.guidance, floor=self.floor)


def _ordinary(conditions: Conditions) -> Conditions:
    static = None if conditions.static is None else ordinary(conditions.static)
    time, dt = ordinary(conditions.time), ordinary(conditions.dt)
    return replace(conditions, time=time, dt=dt, parameters=ordinary(conditions.parameters), static=static)
