"""One contender of the comparison: a surrogate from three blocks of a suite, trained, kept, and set to a number of network evaluations.

    operator   the network, the same for all          target     what is generated, a tendency or a state
    refiner    a class of `surrogates.refine`, or none: mean squared error          guess    the contender whose network is frozen as guess

All are trained alike: Adam, a rate warmed up over a tenth of the steps and then a cosine to zero, gradients clipped at norm 1, the same
windows in the same order. Evaluations count everything a frame takes, a guess included.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tasks import Grid
from torch import nn

from surrogates.noise import AtStep, SeededNoise, splitmix
from surrogates.surrogate import Surrogate
from surrogates.train.build import operator_sizes
from surrogates.train.optimiser import Optimiser
from surrogates.train.part import part

SCALE, SCALE_BATCHES = 4, 8  # key of the windows that a refiner's scale is fitted to, and how many batches of them


def task_of(data: dict[str, Any]) -> Grid:
    """The windows of a suite's `data`: those of the comparison of operators."""
    return Grid(leads=0, **{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


def slug(text: str) -> str:
    """A name for files."""
    return re.sub(r"[^\w.]+", "-", text)


@dataclass(frozen=True)
class Training:
    """What decides the weights: the data, the entry of the suite (with that of its guess) and how it is trained."""

    task: str
    label: str
    data: dict[str, Any]
    entry: dict[str, Any]
    lr: float
    steps: int
    seed: int

    @property
    def name(self) -> str:
        return f"{slug(self.task)}/{slug(self.label)}/lr{self.lr:g}-seed{self.seed}-steps{self.steps}"

    @property
    def guess(self) -> Training | None:
        """The training of the guess, whose label, entry, rate and steps stand inside this entry."""
        first = self.entry.get("guess")
        return first and Training(self.task, first["label"], self.data, first["entry"], first["lr"], first["steps"], self.seed)


def build(task: Grid, entry: dict[str, Any], seed: int, guess: Surrogate | None = None) -> Surrogate:
    """Untrained, its weights decided by the seed. Raises ValueError, naming the block, for what does not exist or does not fit."""
    make = part(entry["operator"], "operator", "surrogates.operators", given=3)
    target = part(entry.get("target", "Tendency"), "target", "surrogates.target")()
    c, e = task.fields.count, len(task.parameters)
    torch.manual_seed(splitmix(seed) >> 1)
    if "refiner" not in entry:
        parts: dict[str, Any] = {"operator": make(c, c, e)}
    else:
        refiner = part(entry["refiner"], "refiner", "surrogates.refine", given=1, named=("channels",))
        network = make(*operator_sizes(refiner, c, c, e, guess is not None, 1))
        parts = {"refiner": refiner(network, channels=c)}
    if guess is not None:
        assert guess.operator is not None
        parts["operator"], target = guess.operator.requires_grad_(False), guess.target
    surrogate = Surrogate(task.fields, task.domain, task.dt, **parts, target=target, parameters=task.parameters)
    surrogate.normaliser = task.normaliser()
    if task.parameters:
        told = task.conditioned()
        surrogate.parameter_mean.copy_(told.mean(0))
        surrogate.parameter_std.copy_(told.std(0))
    return surrogate


def train(task: Grid, surrogate: Surrogate, lr: float, steps: int, seed: int, device: str = "cpu") -> float:
    """Train in place; the mean loss of the last tenth of the steps."""
    surrogate.to(device).train()
    fit_scale(task, surrogate, seed, device)
    weights = [p for p in surrogate.parameters() if p.requires_grad]
    rates = Optimiser(lr=lr, warmup=max(1, steps // 10), floor=0.0, weight_decay=0.0, ema=0.0)
    optimiser = rates.build(weights)
    last, total = max(1, steps // 10), torch.zeros((), dtype=torch.float64, device=device)
    rows = list(range(task.batch))
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rates.rate(step, steps)
        past, future, conditions = task.training(seed, step, 1)
        noise = AtStep(SeededNoise(splitmix(seed, step), rows, [0] * len(rows)), 0)
        loss = surrogate.loss(past.to(device), future.to(device), conditions.to(device), noise).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, rates.clip)
        optimiser.step()
        if step >= steps - last:
            total += loss.detach()
    surrogate.eval()
    return float(total) / last


@torch.no_grad()
def fit_scale(task: Grid, surrogate: Surrogate, seed: int, device: str) -> None:
    """The scale of what the refiner generates, from training windows; for refiners that have one."""
    fit = getattr(surrogate.refiner, "fit_scale", None)
    if fit is None:
        return
    residuals = []
    for n in range(SCALE_BATCHES):
        past, future, conditions = (v.to(device) for v in task.training(splitmix(seed, SCALE), n, 1))
        _, _, guess = surrogate.prepare(past, conditions)
        truth = surrogate.target.encode(future, past[:, -1], surrogate.normaliser)
        residuals.append(truth if guess is None else truth - guess)
    fit(torch.cat(residuals))


def trained(out: Path, training: Training, task: Grid, device: str = "cpu") -> tuple[Surrogate, dict[str, Any]]:
    """The trained surrogate and what is told of its training; weights of the same settings are read, others are made and kept.

    Raises FileNotFoundError where the guess was not trained before.
    """
    first = training.guess
    if first is not None and not kept(out, first):
        raise FileNotFoundError(f"{training.label} starts from the guess {first.label!r}, which is not trained; run that contender too")
    guess = trained(out, first, task, device)[0] if first is not None else None
    surrogate = build(task, training.entry, training.seed, guess).to(device)
    path, about = weights_of(out, training)
    if kept(out, training):
        surrogate.load_state_dict(torch.load(path, map_location=device, weights_only=True))
        return surrogate.eval(), json.loads(about.read_text())["told"]
    began = time.process_time()
    loss = train(task, surrogate, training.lr, training.steps, training.seed, device)
    own = [p for p in surrogate.parameters() if p.requires_grad]
    told = {"loss": loss, "train seconds": time.process_time() - began, "parameters": sum(p.numel() for p in own)}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    torch.save(surrogate.state_dict(), draft)
    os.replace(draft, path)
    about.write_text(json.dumps({"training": asdict(training), "told": told}))
    return surrogate, told


def weights_of(out: Path, training: Training) -> tuple[Path, Path]:
    """Where the weights lie, and what they were made with."""
    base = out / "weights" / training.name
    return base.with_name(base.name + ".pt"), base.with_name(base.name + ".json")


def kept(out: Path, training: Training) -> bool:
    """Whether weights of these very settings are there."""
    path, about = weights_of(out, training)
    return path.exists() and about.exists() and json.loads(about.read_text())["training"] == json.loads(json.dumps(asdict(training)))


def budgets(surrogate: Surrogate, wanted: list[int]) -> dict[int, int | None]:
    """{network evaluations a frame: sampler steps that take them}, at most one for each number that is wanted.

    A refiner whose steps are fixed by its training, and a network without a refiner, have one budget, of None steps. Where no number of
    steps takes exactly what is wanted (Heun's method takes odd numbers only), the next smaller one stands for it.
    """
    refiner, guess = surrogate.refiner, int(surrogate.operator is not None)
    if refiner is None:
        return {1: None}
    if not hasattr(refiner, "steps"):
        return {guess + int(getattr(refiner, "evaluations", 1)): None}
    before, found = refiner.steps, {}
    for n in wanted:
        for steps in range(n - guess + 1, 0, -1):  # some count no evaluation in their first step
            taken = _evaluations(refiner, steps)
            if taken is not None and 0 < taken <= n - guess:
                found[guess + taken] = steps
                break
    refiner.steps = before
    return found


def _evaluations(refiner: Any, steps: int) -> int | None:
    """What so many steps take; None where the schedule was not trained for them."""
    refiner.steps = steps
    try:
        return int(refiner.evaluations)
    except ValueError:
        return None
