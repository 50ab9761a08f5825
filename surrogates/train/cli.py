"""`surrogates train --config FILE`: a short file names the data, the parts of the model and the steps; everything has a default.

    data: {dataset: kolmogorov2d, size: small, batch_size: 16}
    model:
      operator: {class: FNO, width: 32, modes: [24, 13]}
      laws: [{class: DivergenceFree}]
    steps: 1200
    out: runs/guess

Keys can be given or overruled on the command line (--steps 100, --model.operator.width 16); --print_config shows all of them.
Links pass the data module to the model, which takes channels, domain, dt and statistics from it, and the seed to both.
"""

from __future__ import annotations

import re
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from surrogates.data.module import DataModule
from surrogates.errors import nearest
from surrogates.train.laws import law_of, soft_of
from surrogates.train.module import Training
from surrogates.train.optimiser import Optimiser
from surrogates.train.part import part
from surrogates.train.run import Run, Settings, train
from surrogates.train.validation import Rollouts

Entry = dict[str, Any] | str
"""A part as a file writes it: {class: FNO, width: 32}, or FNO alone."""


def configured(
    data: DataModule,
    operator: Entry,
    refiner: Entry | None = None,
    laws: Entry | list[Entry] | None = None,
    soft: dict[str, Any] | list[dict[str, Any]] | None = None,
    head: Entry | list[Entry] | None = None,
    strategy: Entry = "OneStep",
    target: Entry | None = None,
    parameters: list[str] | None = None,
    guess: Entry | None = None,
    cross: list[str] | None = None,
    correct_sampling: bool = False,
    optimiser: Optimiser = Optimiser(),  # noqa: B008 (frozen)
    rollouts: Rollouts = Rollouts(),  # noqa: B008
    seed: int = 0,
) -> Training:
    """A Training from the parts that a file names.

    Args:
        data: The data module.
        operator: The network that is trained, such as {class: FNO, width: 32, modes: [24, 13]}.
        refiner: Generative part around the network, such as {class: FlowMatching, steps: 4}; none: a deterministic surrogate.
        laws: Constraints in order, such as [{class: DivergenceFree}], or one alone; a law may hold others, {class: Alternating, laws:
            [...]}. With the folder of a `guess`, that surrogate's law unless given, and none for an empty list.
        soft: Laws that count in the loss, with their weights, such as [{law: {class: DivergenceFree}, weight: 0.1}].
        head: What makes fields from the network's outputs, lawful by construction, such as {class: StreamFunction, field: velocity};
            several in a list, each for a field of its own.
        strategy: OneStep, {class: Pushforward, pushes: 1} or {class: Unrolled, steps: 2}.
        target: Tendency or Absolute: what is generated.
        parameters: The PDE parameters to condition on; all that vary unless given.
        guess: Folder of a trained surrogate, frozen as the refiner's deterministic guess; or a network, such as {class: FNO, width: 32,
            modes: [24, 13]}, that is trained together with the refiner.
        cross: Folders of surrogates trained on folds, to learn residuals on trajectories that a guess has not seen.
        correct_sampling: Whether the constraint acts at every level of the sampler too.
        optimiser: Learning rate, its schedule, clipping and the average of the weights.
        rollouts: What is rolled out for validation.
        seed: Weights and noise.
    """
    parts = parts_of(operator, refiner, laws, strategy, target, guess, head, soft)
    return Training(
        data,
        parts["operator"],
        parts["refiner"],
        laws=parts["laws"],
        soft=parts["soft"],
        strategy=parts["strategy"](),
        target=parts["target"]() if target else None,
        parameters=parameters,
        guess=parts["guess"],
        heads=parts["heads"],
        cross=cross or (),
        correct_sampling=correct_sampling,
        optimiser=optimiser,
        rollouts=rollouts,
        seed=seed,
    )


def parts_of(
    operator: Entry,
    refiner: Entry | None,
    laws: Entry | list[Entry] | None,
    strategy: Entry,
    target: Entry | None,
    guess: Entry | None = None,
    head: Entry | list[Entry] | None = None,
    soft: dict[str, Any] | list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The parts of a model by key; each is checked against its class, none is built."""
    return {
        "operator": part(operator, "model.operator", "surrogates.operators", given=3),
        "guess": guess if guess is None or isinstance(guess, str) else part(guess, "model.guess", "surrogates.operators", given=3),
        "refiner": part(refiner, "model.refiner", "surrogates.refine", given=1, named=("channels", "frames")) if refiner else None,
        "laws": None if laws is None else [law_of(law, key) for key, law in _each(laws, "model.laws")],
        "soft": [soft_of(law, key) for key, law in _each(soft, "model.soft")],
        "heads": [part(h, "model.head", "surrogates.heads", given=1) for _, h in _each(head, "model.head")],
        "strategy": part(strategy, "model.strategy", "surrogates.train"),
        "target": part(target, "model.target", "surrogates.target") if target else None,
    }


def _each(entries: Any, key: str) -> list[tuple[str, Any]]:
    """Entries with their keys, of a list or of one alone."""
    if isinstance(entries, list):
        return [(f"{key}[{i}]", e) for i, e in enumerate(entries)]
    return [(key, entries)] if entries else []


class TrainCLI(LightningCLI):
    """LightningCLI with our settings in place of the Trainer's forty, and links from data to model."""

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--steps", type=int, default=1000, help="Optimiser steps.")
        parser.add_argument("--seed", type=int, default=0, help="Seed of weights, noise and the order of the data.")
        parser.add_argument("--out", type=str | None, default=None, help="Folder of the run; runs/<name of the file> unless given.")

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(DataModule, "data")
        parser.add_lightning_class_args(configured, "model")
        parser.add_class_arguments(Settings, "trainer")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("data", "model.data", apply_on="instantiate")
        parser.link_arguments("seed", "data.seed")
        parser.link_arguments("seed", "model.seed")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)

    def _set_seed(self) -> None:
        """Nothing global is seeded: weights, noise and order have generators of their own."""

    def before_instantiate_classes(self) -> None:
        """All that can be checked before the data are opened."""
        model = self.config.model
        parts_of(**{k: model[k] for k in ("operator", "refiner", "laws", "strategy", "target", "guess", "head", "soft")})
        for cls, given in ((Settings, self.config.trainer), (Optimiser, model.optimiser), (Rollouts, model.rollouts)):
            cls(**vars(given))

    def instantiate_classes(self) -> None:
        build = getattr(self.parser, "instantiate", None) or self.parser.instantiate_classes  # the older name, deprecated since
        self.config_init = build(self.config)


def main(argv: Sequence[str] | None = None) -> Run:
    """Train as a configuration says. Raises ValueError, naming the key, for what the file or the command line has wrong."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        cli = TrainCLI(
            configured,
            DataModule,
            save_config_callback=None,
            parser_kwargs={
                "exit_on_error": False,
                "dump_header": None,
                "prog": "surrogates train",
                "description": "Train a surrogate from a configuration file.",
            },
            args=words,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )
    except ArgumentError as error:
        raise ValueError(explain(str(error))) from error
    given, out = cli.config_init, folder_of(cli.config)
    run = train(given.model, steps=given.steps, out=out, settings=given.trainer)
    print(f"{out}: {'trained' if run.steps else 'finished before, nothing to do'}; {given.steps} steps; {summary(run)}")
    return run


def folder_of(config: Any) -> str:
    """`out`, or runs/ and the name of the configuration file."""
    if config.out:
        return str(config.out)
    files = [Path(str(f)).stem for f in config.config or ()]
    return f"runs/{files[-1] if files else 'train'}"


def summary(run: Run) -> str:
    """The last scores in a line."""
    newest = {kind: rows[-1] for kind, rows in run.log.rows.items() if rows}
    return ", ".join(f"{kind} {k} {v:.4g}" for kind, row in newest.items() for k, v in row.items() if k not in ("step", "lr"))


def explain(message: str) -> str:
    """jsonargparse's message in one line, with the nearest key where one is not known."""
    line = " ".join(message.split())
    group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", line)
    alone = re.search(r"(?:[Kk]ey|[Oo]ption) '([\w.]+)' is not (?:expected|accepted)|[Uu]nrecognized arguments: --([\w.]+)", line)
    if group:
        return f"unknown key {'.'.join(group.groups())!r}{nearest('.'.join(group.groups()), known_keys())}"
    if alone:
        key = alone.group(1) or alone.group(2)
        return f"unknown key {key!r}{nearest(key, known_keys())}"
    return line


def known_keys() -> list[str]:
    """Every key that a configuration may hold."""
    parser = LightningArgumentParser()
    TrainCLI.add_default_arguments_to_parser(None, parser)  # type: ignore[arg-type]
    TrainCLI.add_core_arguments_to_parser(None, parser)  # type: ignore[arg-type]
    return [k for k in parser.get_defaults().keys(branches=True)]
