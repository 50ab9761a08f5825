"""Training: a thin LightningModule around a Surrogate. Randomness is keyed by (seed, step), so a resumed run repeats itself exactly."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from surrogates.contracts import Domain
from surrogates.data.batches import drawn
from surrogates.data.module import DataModule
from surrogates.data.windows import Batch
from surrogates.domains import Mesh
from surrogates.noise import AtStep, noise_on, splitmix
from surrogates.saved import WEIGHTS
from surrogates.surrogate import wet
from surrogates.target import Target
from surrogates.train.build import HeadFactory, OperatorFactory, RefinerFactory, fresh, refined
from surrogates.train.guesses import cross_fitted
from surrogates.train.laws import LawFactory, SoftFactory
from surrogates.train.optimiser import Optimiser
from surrogates.train.strategies import OneStep, Strategy
from surrogates.train.teachers import check_teacher, taught_by
from surrogates.train.validation import Rollouts

VALIDATION = 1 << 40  # a step that no training reaches: validation windows always see the same noise
SCALE_WINDOWS = 256


class Training(LightningModule):
    """What is trained, and how.

    operator: the network that is trained, as a factory (in_channels, out_channels, embedding) -> network: the deterministic guess
    where there is no refiner, else the refiner's. refiner: a factory (operator, channels=...) -> refiner. guess: the folder of a saved
    surrogate whose operator is frozen as the refiner's guess, or a factory of one that is trained together with it; cross: folders of
    surrogates trained on folds, whose guesses the refiner learns from instead (see `guesses`). laws: factories (fields) -> constraint;
    soft: factories (fields) -> `Soft`, which count in the loss.
    heads: factories (fields) -> head, for surrogates without a refiner.
    Raises ValueError where the parts, the folders and the data do not fit together.
    """

    def __init__(
        self,
        data: DataModule,
        operator: OperatorFactory,
        refiner: RefinerFactory | None = None,
        *,
        laws: Sequence[LawFactory] | None = None,
        soft: Sequence[SoftFactory] = (),
        strategy: Strategy | None = None,
        target: Target | None = None,
        parameters: Sequence[str] | None = None,
        guess: str | os.PathLike[str] | OperatorFactory | None = None,
        heads: Sequence[HeadFactory] = (),
        cross: Sequence[str | os.PathLike[str]] = (),
        correct_sampling: bool = False,
        optimiser: Optimiser | None = None,
        rollouts: Rollouts | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # the steps are four lines, and Lightning's closures around them cost more than a small network
        self.data, self.seed, self.strategy = data, seed, strategy or OneStep()
        self.optimiser, self.rollouts = optimiser or Optimiser(), rollouts or Rollouts()
        bundle, rest = divmod(data.bundle, self.strategy.bundles)
        if rest or not bundle:
            raise ValueError(
                f"the windows hold {data.bundle} future frames but this strategy needs a multiple of {self.strategy.bundles}; "
                f"set `data: {{bundle: {self.strategy.bundles}}}`, or that times the frames of a bundle"
            )
        if cross and not isinstance(guess, str | os.PathLike):
            raise ValueError("cross-fitted guesses train a refiner around a guess; give its folder as `guess` too")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(splitmix(seed) >> 1)
            if not isinstance(guess, str | os.PathLike):
                if guess is not None and refiner is None:
                    raise ValueError("a guess is trained together with a refiner; give one, or write the guess as `operator` alone")
                self.surrogate = fresh(
                    data,
                    bundle,
                    operator,
                    refiner,
                    laws or (),
                    guess=guess,
                    heads=heads,
                    target=target,
                    parameters=parameters,
                    correct_sampling=correct_sampling,
                    soft=soft,
                )
                guess = None
            else:
                if refiner is None or target is not None or parameters is not None or heads:
                    raise ValueError(
                        "with `guess`, a refiner is trained (give one, and no head); target and parameters are those of the guess"
                    )
                self.surrogate = refined(data, bundle, guess, operator, refiner, laws, correct_sampling=correct_sampling, soft=soft)
        teachers = taught_by(refiner)
        for folder in teachers:
            check_teacher(folder, self.surrogate)
        origins = {"guess": digest(guess), "cross": [digest(f) for f in cross], "teachers": [digest(f) for f in teachers]}
        self.origins = {k: v for k, v in origins.items() if v}
        self._lent = [cross_fitted(cross, self.surrogate, data)] if cross else []  # in a list: not part of this module's weights

    # -- training ----------------------------------------------------------------------------------------------

    def loss(self, batch: Batch, step: int) -> Tensor:
        """The mean loss of a batch under the noise of a training step."""
        noise = noise_on(batch.conditions.domain, splitmix(self.seed, step), batch.windows.tolist(), [0] * len(batch))
        guess = self.guess(batch)
        return self.strategy(self.surrogate, batch.past, batch.future, batch.conditions, noise, step, guess).mean()

    def guess(self, batch: Batch) -> nn.Module | None:
        """The cross-fitted guess for a batch; None: the surrogate's own."""
        return self._lent[0].of(self.data.trajectories_of(batch.windows)) if self._lent else None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.loss(batch, self.global_step)
        optimiser = self.optimizers()
        optimiser.zero_grad()  # type: ignore[union-attr]
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.weights, self.optimiser.clip)
        rate = self.optimiser.rate(self.global_step, self.trainer.max_steps)
        for group in optimiser.param_groups:  # type: ignore[union-attr]
            group["lr"] = rate
        optimiser.step()  # type: ignore[union-attr]
        return loss

    @cached_property
    def weights(self) -> list[nn.Parameter]:
        """What is trained: the parameters that are not frozen."""
        return [p for p in self.parameters() if p.requires_grad]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimiser.build(self.weights)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)

    def on_train_start(self) -> None:
        for lent in self._lent:
            lent.to(self.device)
        if self.global_step == 0:
            self.fit_scale()

    @torch.no_grad()
    def fit_scale(self) -> None:
        """The scale of the residuals that the refiner will learn, from the training split; for refiners that have one."""
        surrogate = self.surrogate
        fit = getattr(surrogate.refiner, "fit_scale", None)
        if fit is None:
            return
        residuals = []
        for held in scale_batches(self.data):
            batch = held.to(self.device)
            future = batch.future[:, : surrogate.bundle]
            _, _, guess = surrogate.prepare(batch.past, batch.conditions, self.guess(batch))
            truth = surrogate.target.encode(future, batch.past[:, -1], surrogate.normaliser)
            residuals.append((truth if guess is None else truth - guess, batch.conditions.domain))
        fit(together(residuals))

    # -- validation --------------------------------------------------------------------------------------------

    def scores(self) -> dict[str, float]:
        """The one-step loss on validation windows, and short rollouts on validation trajectories; of a strategy that does not train
        forecasts (`forecasts = False`), its own loss alone."""
        forecasts = getattr(self.strategy, "forecasts", True)
        total, count = 0.0, 0
        for batch in self.data.val_dataloader():
            noise = noise_on(batch.conditions.domain, splitmix(self.seed, VALIDATION), batch.windows.tolist(), [0] * len(batch))
            moved = batch.to(self.device)
            first = moved.future[:, : self.surrogate.bundle]
            if forecasts:
                loss = self.surrogate.loss(moved.past, first, moved.conditions, AtStep(noise, 0))
            else:
                loss = self.strategy(self.surrogate, moved.past, first, moved.conditions, noise, self.global_step)
            total += float(loss.double().sum())
            count += len(batch)
        rollouts = self.rollouts.scores(self.surrogate, self.data.truths("valid")) if forecasts else {}
        return {"loss": total / count, **rollouts}


def scale_batches(data: DataModule) -> Iterator[Batch]:
    """What a refiner's scale is fitted on: windows of the training split, evenly spaced, in batches no larger than training's."""
    windows, chosen = data.windows("train"), data.chosen()
    of = torch.arange(len(windows)) if chosen is None else chosen
    picked = of[torch.linspace(0, len(of) - 1, min(SCALE_WINDOWS, len(of)), dtype=torch.float64).round().long()]
    for step, indices in enumerate(windows.cut(picked, data.batch_size)):
        yield windows.batch(indices, drawn(windows.strides, len(indices), data.seed, step))


def together(batches: Sequence[tuple[Tensor, Domain]]) -> Float[Tensor, "N C ..."]:
    """Values of several batches in their wet cells; of meshes, which differ in their numbers of nodes, one long row."""
    held = [wet(u, domain) for u, domain in batches]
    if not isinstance(batches[0][1], Mesh):
        return torch.cat(held)
    return torch.cat([u.transpose(0, 1).flatten(1)[None] for u in held], -1)


def digest(folder: str | os.PathLike[str] | None) -> str | None:
    """Which saved surrogate: its folder and the beginning of the hash of its weights."""
    if folder is None:
        return None
    weights = Path(folder) / WEIGHTS
    return f"{Path(folder).name} ({sha256(weights.read_bytes()).hexdigest()[:12]})" if weights.is_file() else Path(folder).name
