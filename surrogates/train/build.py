"""A surrogate from what the data tell (fields, domain, dt, parameters, statistics) and the parts of a configuration.

Two kinds are made. `fresh`: the operator is a deterministic guess, or the network of a refiner, purely generative or with a guess that
is trained with it. `refined`: the
operator is the network of a refiner around the frozen guess of a saved surrogate, which also gives statistics and conditioning.
Widths follow from `Surrogate` and `refine.conditioning`: C channels, bundle T, history H, E conditions, F features of s,

    guess     H C       -> T C,   embedding E          refiner   T C + H C [+ T C with a guess] -> T C,   embedding E + F

with the static fields and forcings that the data declare beside the H C channels of the past (`known`); but for
refiners that have `widths` of their own, and for a guess under a head, which gives T K channels (`heads.decode.channels_of`).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from surrogates.constraints import InOrder
from surrogates.contracts import Constraint
from surrogates.data.module import DataModule
from surrogates.domains import Box, Mesh
from surrogates.domains.layout import same
from surrogates.errors import nearest
from surrogates.fields import Fields
from surrogates.heads import SideBySide
from surrogates.heads.decode import SizedHead, channels_of
from surrogates.known import known_channels
from surrogates.refine.conditioning import widths
from surrogates.saved import load_surrogate
from surrogates.surrogate import Surrogate
from surrogates.target import Target
from surrogates.train.laws import LawFactory, SoftFactory

OperatorFactory = Callable[[int, int, int], nn.Module]
"""(in_channels, out_channels, embedding) -> operator."""
RefinerFactory = Callable[..., nn.Module]
"""(operator, channels=...) -> refiner."""
HeadFactory = Callable[[Fields], SizedHead]


def fresh(
    data: DataModule,
    bundle: int,
    operator: OperatorFactory,
    refiner: RefinerFactory | None = None,
    laws: Sequence[LawFactory] = (),
    *,
    guess: OperatorFactory | None = None,
    heads: Sequence[HeadFactory] = (),
    target: Target | None = None,
    parameters: Sequence[str] | None = None,
    correct_sampling: bool = False,
    soft: Sequence[SoftFactory] = (),
) -> Surrogate:
    """A surrogate of new weights. `parameters` are those it is conditioned on: all that vary in the training split, unless given.
    `guess` is trained together with the refiner. Static fields and forcings are those that the data declare."""
    names, beside = conditioning(data, parameters), data.beside
    inputs, outputs = data.history * data.fields.count + known_channels(**beside), bundle * data.fields.count
    made = head(data.fields, heads)
    if refiner is None:
        outputs = outputs if made is None else bundle * channels_of(made, data.fields.count, data.domain)
        parts: dict[str, Any] = {"operator": operator(inputs, outputs, len(names))}
    else:
        network = operator(*operator_sizes(refiner, outputs, inputs, len(names), guess is not None, bundle))
        parts = {"refiner": refiner(network, **given(refiner, outputs, bundle))}
        if guess is not None:
            parts |= {"operator": guess(inputs, outputs, len(names)), "joint": True}
    surrogate = Surrogate(
        data.fields,
        data.domain,
        data.dt,
        **parts,
        constraint=constraint(data.fields, laws),
        target=target,
        history=data.history,
        bundle=bundle,
        parameters=names,
        correct_sampling=correct_sampling,
        head=made,
        soft=tuple(law(data.fields) for law in soft),
        static=beside["static"],
        forcings=beside["forcings"],
        scaling=data.scaling,
    )
    if surrogate.known is not None:
        windows = data.windows("train")
        surrogate.known.fit(windows.statics(), windows.forcings())
    surrogate.normaliser.load_state_dict(data.normaliser.state_dict())
    mean, std = data.parameter_statistics
    index = [data.parameter_names.index(n) for n in names]
    surrogate.parameter_mean.copy_(mean[index])
    surrogate.parameter_std.copy_(std[index])
    return surrogate


def refined(
    data: DataModule,
    bundle: int,
    guess: str | os.PathLike[str],
    operator: OperatorFactory,
    refiner: RefinerFactory,
    laws: Sequence[LawFactory] | None = None,
    *,
    correct_sampling: bool = False,
    soft: Sequence[SoftFactory] = (),
) -> Surrogate:
    """A refiner of new weights around the frozen operator of a saved surrogate. Raises ValueError where it does not fit the data.

    It is under the law of the saved one unless `laws` are given; an empty list means none.
    """
    first = load_surrogate(guess)
    check_fit(first, data, bundle, str(guess))
    inputs, outputs = data.history * data.fields.count + known_channels(**data.beside), bundle * data.fields.count
    network = operator(*operator_sizes(refiner, outputs, inputs, len(first.parameters_used), True, bundle))
    surrogate = Surrogate(
        data.fields,
        data.domain,
        data.dt,
        operator=first.operator,
        refiner=refiner(network, **given(refiner, outputs, bundle)),
        constraint=first.constraint if laws is None else constraint(data.fields, laws),
        target=first.target,
        history=data.history,
        bundle=bundle,
        parameters=first.parameters_used,
        correct_sampling=correct_sampling,
        soft=tuple(law(data.fields) for law in soft),
        static=first.static,
        forcings=first.forcings,
        scaling=first.normaliser.scaling,
    )
    if surrogate.known is not None and first.known is not None:
        surrogate.known.load_state_dict(first.known.state_dict())
    assert surrogate.operator is not None
    surrogate.operator.requires_grad_(False)
    surrogate.normaliser.load_state_dict(first.normaliser.state_dict())
    surrogate.parameter_mean.copy_(first.parameter_mean)
    surrogate.parameter_std.copy_(first.parameter_std)
    return surrogate


def operator_sizes(refiner: RefinerFactory, channels: int, context: int, conditions: int, guess: bool, frames: int) -> tuple[int, int, int]:
    """(in_channels, out_channels, embedding) of the operator that a refiner needs."""
    sizes = getattr(_made(refiner), "widths", widths)(channels, context, guess, frames)
    return sizes.inputs, sizes.outputs, conditions + sizes.embedding


def given(refiner: RefinerFactory, channels: int, frames: int) -> dict[str, int]:
    """What a refiner is made with beside its operator and what the file says: its channels, and its frames where it asks for them."""
    asks = "frames" in inspect.signature(_made(refiner)).parameters
    return {"channels": channels, "frames": frames} if asks else {"channels": channels}


def _made(factory: RefinerFactory) -> Any:
    """The class behind a part, a partial, or the class itself."""
    return getattr(factory, "cls", None) or getattr(factory, "func", factory)


def check_fit(saved: Surrogate, data: DataModule, bundle: int, where: str) -> None:
    """Raise ValueError unless a saved surrogate has a guess and was made for such windows of such data."""
    if saved.operator is None:
        raise ValueError(f"{where} has no deterministic operator to serve as a guess; train one without a refiner first")
    if saved.head is not None:
        raise ValueError(
            f"{where} gives what {type(saved.head).__name__} makes a state of, which no refiner draws; train a guess without a head"
        )
    asked = {"fields": data.fields, "dt": data.dt, "history": data.history, "bundle": bundle, **data.beside}
    for name, value in asked.items():
        have = getattr(saved, name)
        if have != value:
            raise ValueError(
                f"{where} was trained with {name}={have} but the data here have {name}={value}; use the same, or train another guess"
            )
    trained: Any = saved.domain
    if isinstance(trained, Box):
        trained = trained.with_shape(data.domain.shape) if len(data.domain.shape) == trained.dim else trained
    if not same(trained, data.domain) and not isinstance(trained, Mesh):
        raise ValueError(f"{where} was trained on {saved.domain} but the data lie on {data.domain}; train another guess")


def constraint(fields: Fields, laws: Sequence[LawFactory]) -> Constraint | None:
    """No law, one, or several in order."""
    made = [law(fields) for law in laws]
    return InOrder(tuple(made)) if len(made) > 1 else made[0] if made else None  # type: ignore[arg-type]


def head(fields: Fields, heads: Sequence[HeadFactory]) -> SizedHead | None:
    """No head, one, or several side by side."""
    made = [factory(fields) for factory in heads]
    return SideBySide(tuple(made)) if len(made) > 1 else made[0] if made else None


def conditioning(data: DataModule, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The parameters to condition on: unless given all that vary, but for keys, which name a random draw and are no coefficients.

    Raises ValueError for one that the data lack, or that does not vary.
    """
    mean, std = data.parameter_statistics
    varies = {n: bool(s > 1e-9 * torch.maximum(m.abs(), s)) for n, m, s in zip(data.parameter_names, mean, std, strict=True)}
    if wanted is None:
        return tuple(n for n in data.parameter_names if varies[n] and not n.endswith("_key"))
    for name in wanted:
        if name not in varies:
            raise ValueError(f"the data have no parameter {name!r} to condition on; they have {list(varies)}{nearest(name, varies)}")
        if not varies[name]:
            raise ValueError(f"parameter {name!r} is the same in all training trajectories; leave it out of `parameters`")
    return tuple(wanted)
