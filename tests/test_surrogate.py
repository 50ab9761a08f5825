"""Laws of the step that is made of parts: units, batches, history, laws kept, memory of the noise, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surrogates.constraints import ConservedIntegral
from surrogates.contracts import Conditions, Domain, Draws, Step
from surrogates.domains import Box, Masked, Sphere
from surrogates.fields import Field, Fields
from surrogates.noise import AtStep, SeededNoise
from surrogates.normalise import Normaliser
from surrogates.operators import FNO
from surrogates.refine import FEATURES, FlowMatching
from surrogates.rollout import rollout
from surrogates.surrogate import Surrogate
from surrogates.target import Absolute

FIELDS = Fields.of(Field("u", "m s-1"), Field("T", "K"))
BOX = Box.periodic((16,), 2.0, units="m")
DT = 0.25


class Echo(nn.Module):
    """A refiner that returns its source draw."""

    def forward(
        self, guess: Tensor | None, context: Tensor, embedding: Tensor | None, domain: Domain, noise: Draws, correct: Any = None
    ) -> Tensor:
        return noise(context[:, : FIELDS.count], draw=0)

    def loss(self, truth: Tensor, guess: Tensor | None, *_: Any) -> Tensor:
        assert guess is not None
        return (truth - guess).square().flatten(1).mean(1)


class Same(nn.Module):
    """An operator that returns the newest frame of its context; it keeps what it saw."""

    def __init__(self, bundle: int = 1) -> None:
        super().__init__()
        self.bundle = bundle
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        self.seen.append(x)
        return x[:, -FIELDS.count :].repeat(1, self.bundle, *(1,) * (x.ndim - 2))


def conditions(rows: int, dt: float = DT, box: Box = BOX, **parameters: list[float]) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    columns = [torch.tensor(v) for v in parameters.values()]
    table = torch.stack(columns, 1) if columns else torch.zeros(rows, 0)
    return Conditions(box, 0 * ones, dt * ones, table, tuple(parameters))


def frames(rows: int, history: int = 1, seed: int = 0) -> Tensor:
    u = torch.randn(rows, history, 2, 16, generator=torch.Generator().manual_seed(seed))
    return u * torch.tensor([[1.0], [20.0]]) + torch.tensor([[0.0], [290.0]])


def statistics(scale: float = 1.0) -> Normaliser:
    numbers = [torch.tensor(v) * torch.tensor([1.0, scale]) for v in ([0.0, 290.0], [1.0, 20.0], [0.0, 0.1], [0.1, 2.0])]
    return Normaliser(*numbers, dim=1)


def full(scale: float = 1.0, **changed: Any) -> Surrogate:
    """Guess, refiner, two frames of history, one parameter."""
    torch.manual_seed(0)
    made = Surrogate(
        FIELDS,
        BOX,
        DT,
        operator=FNO(4, 2, 1, width=8, modes=(5,), layers=2),
        refiner=FlowMatching(FNO(8, 2, 1 + FEATURES, width=8, modes=(5,), layers=2), channels=2, steps=2),
        history=2,
        parameters=("viscosity",),
        **changed,
    )
    made.normaliser.load_state_dict(statistics(scale).state_dict())
    made.parameter_mean.fill_(0.5)
    made.parameter_std.fill_(0.2)
    return made.eval()


def simple(**parts: Any) -> Surrogate:
    return Surrogate(FIELDS, BOX, DT, **parts)


def test_it_is_a_step() -> None:
    made = full()
    assert isinstance(made, Step) and (made.inputs, made.outputs, made.history, made.bundle) == (FIELDS, FIELDS, 2, 1)


@pytest.mark.parametrize("noisy", [False, True])
def test_other_units_of_data_and_statistics_together_change_nothing(noisy: bool) -> None:
    """Physical in, physical out: millikelvins in, millikelvins out."""
    past, noise = frames(3, 2), SeededNoise(0, [0, 1, 2], [0, 0, 0]) if noisy else None
    where = conditions(3, viscosity=[0.4, 0.5, 0.6])
    units = torch.tensor([[1.0], [1000.0]])
    with torch.no_grad():
        kelvin = torch.stack(list(rollout(full(), past, 3, where.after, noise)), 1)
        milli = torch.stack(list(rollout(full(1000.0), past * units, 3, where.after, noise)), 1)
    torch.testing.assert_close(milli, kelvin * units, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("noisy", [False, True])
def test_a_row_does_not_see_its_neighbours(noisy: bool) -> None:
    past, where = frames(3, 2), conditions(3, viscosity=[0.3, 0.5, 0.9])
    made = full()

    def forecast(rows: list[int]) -> Tensor:
        noise = SeededNoise(1, rows, [0] * len(rows)) if noisy else None
        return torch.stack(list(rollout(made, past[rows], 3, where.rows(torch.tensor(rows)).after, noise)), 1)

    with torch.no_grad():
        whole = forecast([0, 1, 2])
        for row in (2, 0):
            torch.testing.assert_close(forecast([row])[0], whole[row], rtol=1e-5, atol=1e-4)


def test_the_parameter_matters_and_is_standardised() -> None:
    made, past = full(), frames(2, 2)
    with torch.no_grad():  # the last layer of FiLM starts at zero: as made, a network does not see its embedding
        for weight in made.operator.film.parameters():  # type: ignore[union-attr]
            weight.normal_(generator=torch.Generator().manual_seed(0))
        low, high = (made(made.begin(past, w), w)[0] for w in (conditions(2, viscosity=[v, v]) for v in (0.3, 0.7)))
    assert not torch.allclose(low, high)
    embedded = made.embed(conditions(2, viscosity=[0.3, 0.7]), past)
    torch.testing.assert_close(embedded, torch.tensor([[-1.0], [1.0]]))


def test_without_noise_the_guess_is_returned() -> None:
    made, past, where = full(), frames(2, 2), conditions(2, viscosity=[0.5, 0.5])
    bare = full()
    bare.refiner = None
    with torch.no_grad():
        guess, with_refiner = (s(s.begin(past, where), where)[0] for s in (bare, made))
        noisy, _ = made(made.begin(past, where), where, SeededNoise(0, [0, 1], [0, 0]))
    assert torch.equal(guess, with_refiner) and not torch.allclose(noisy, guess)


def test_a_purely_generative_one_asks_for_noise() -> None:
    made, past, where = simple(refiner=Echo()), frames(1), conditions(1)
    with pytest.raises(ValueError, match="purely generative; pass noise"):
        made(made.begin(past, where), where)
    with pytest.raises(ValueError, match="needs an operator"):
        simple()


@pytest.mark.parametrize("bundle", [1, 2])
def test_history_moves_on_by_the_bundle(bundle: int) -> None:
    """With Absolute and an operator that repeats the last frame, nothing changes, and the context is always the newest frames."""
    operator = Same(bundle)
    made = simple(operator=operator, target=Absolute(), history=3, bundle=bundle)
    made.normaliser.load_state_dict(statistics().state_dict())
    past, where = frames(2, 3), conditions(2)
    state = made.begin(past, where)
    for n in range(3):
        future, state = made(state, where.after(n * bundle))
        torch.testing.assert_close(future, past[:, -1:].expand(-1, bundle, -1, -1))
    kept = past[:, -1] if bundle == 2 else None
    assert state["past"].shape == past.shape and int(state["step"]) == 3
    if kept is not None:
        torch.testing.assert_close(state["past"][:, 0], kept)
    torch.testing.assert_close(operator.seen[0], made.normaliser.encode(past).flatten(1, 2))
    torch.testing.assert_close(operator.seen[1][:, -4:-2], made.normaliser.encode(past[:, -1]))


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_the_source_is_an_autoregressive_process_of_unit_variance(rho: float) -> None:
    """corr(z_n, z_m) = rho^|n - m|: measured on 400 rows of 32 numbers."""
    made = simple(refiner=Echo(), target=Absolute())
    made.coherence.fill_(rho)
    rows = 400
    noise = SeededNoise(3, list(range(rows)), [0] * rows)
    z = torch.stack(list(rollout(made, frames(rows), 6, conditions(rows).after, noise)), 1).flatten(2)
    z = z.transpose(1, 2).flatten(0, 1)  # (rows x points, steps)
    torch.testing.assert_close(z.var(0), torch.ones(6), atol=0.05, rtol=0)
    expected = torch.tensor([[rho ** abs(n - m) for m in range(6)] for n in range(6)])
    torch.testing.assert_close(torch.corrcoef(z.T), expected, atol=0.03, rtol=0)


def test_the_memory_is_in_the_state_so_that_a_resumed_forecast_is_the_same() -> None:
    made, past, where = full(), frames(2, 2), conditions(2, viscosity=[0.4, 0.6])
    made.coherence.fill_(0.8)
    noise = SeededNoise(0, [0, 1], [0, 0])
    with torch.no_grad():
        _, state = made(made.begin(past, where), where, noise)
        stored = {k: v.clone() for k, v in state.items()}
        first, _ = made(state, where.after(1), noise)
        again, _ = made(stored, where.after(1), noise)
    assert torch.equal(first, again) and set(stored) == {"past", "step", "latent"}


def test_a_law_in_the_sampler_needs_a_sampler_and_a_law() -> None:
    law = ConservedIntegral(FIELDS, "u")
    with pytest.raises(ValueError, match="there is no refiner"):
        simple(operator=Same(), constraint=law, correct_sampling=True)
    with pytest.raises(ValueError, match="there is no constraint"):
        simple(refiner=Echo(), correct_sampling=True)
    free = simple(refiner=Echo(), constraint=law, correct_sampling=True).with_constraint(None)
    again = Surrogate(**free.arguments)  # type: ignore[attr-defined]  # as it is saved and loaded
    assert again.constraint is None and not again.correct_sampling


def masked(length: float, points: int, dry: int) -> Masked:
    return Masked(Box.periodic((points, points), length), torch.arange(points**2).reshape(points, points) >= dry)


@pytest.mark.parametrize(
    ("trained", "same", "other"),
    [
        (Sphere((4, 8), radius=6e6, units="m"), Sphere((8, 16), radius=6e6, units="m"), Sphere((4, 8))),
        (masked(1.0, 4, 1), masked(1.0, 8, 3), masked(100.0, 4, 1)),
        (masked(1.0, 4, 1), masked(1.0, 4, 2), Box.periodic((4, 4), 1.0)),
    ],
    ids=["sphere", "masked", "box"],
)
def test_it_runs_at_other_resolutions_but_not_on_other_extents(trained: Domain, same: Domain, other: Domain) -> None:
    made = Surrogate(FIELDS, trained, DT, operator=Same())
    where = conditions(1)
    made.begin(torch.zeros(1, 1, 2, *same.shape), replace(where, domain=same))
    with pytest.raises(ValueError, match="cannot run on"):
        made.begin(torch.zeros(1, 1, 2, *other.shape), replace(where, domain=other))


@pytest.mark.parametrize("sampling", [False, True])
@pytest.mark.parametrize("bundle", [1, 2])
def test_the_reference_moves_with_time_and_the_law_is_kept(bundle: int, sampling: bool) -> None:
    """An integral that decays at a rate per time unit: I(t) = I(0) exp(-rate t), whatever the network says."""
    law = ConservedIntegral(FIELDS, "u", decay="drag")
    torch.manual_seed(0)
    refiner = FlowMatching(FNO(2 * bundle + 2, 2 * bundle, FEATURES, width=4, modes=(3,), layers=1), channels=2 * bundle, steps=2)
    made = simple(refiner=refiner, constraint=law, bundle=bundle, correct_sampling=sampling)
    past, where = frames(3).double() + 1, conditions(3, drag=[0.0, 0.5, 2.0])
    made = made.double()
    noise = SeededNoise(0, [0, 1, 2], [0, 0, 0])
    with torch.no_grad():
        made_frames = list(rollout(made, past, 4, where.after, noise))
    start = BOX.integral(past[:, 0, :1])
    for n, u in enumerate(made_frames, start=1):
        decayed = start * torch.exp(-torch.tensor([[0.0], [0.5], [2.0]]) * DT * n)
        torch.testing.assert_close(BOX.integral(u[:, :1]), decayed.to(start), rtol=1e-6, atol=1e-9)


def test_the_loss_is_the_error_of_what_is_generated() -> None:
    made, past, where = simple(operator=Same(), target=Absolute()), frames(2), conditions(2)
    made.normaliser.load_state_dict(statistics().state_dict())
    future = past + torch.tensor([[2.0], [10.0]])  # two and a half standard deviations
    loss = made.loss(past, future, where, AtStep(SeededNoise(0, [0, 1], [0, 0]), 0))
    torch.testing.assert_close(loss, torch.full((2,), (2.0**2 + 0.5**2) / 2), rtol=1e-4, atol=0)


def test_a_refiners_loss_leaves_the_guess_alone_and_takes_another() -> None:
    operator = FNO(2, 2, width=4, modes=(3,), layers=1)
    made = simple(operator=operator, refiner=Echo(), target=Absolute())
    past, where, noise = frames(2), conditions(2), AtStep(SeededNoise(0, [0, 1], [0, 0]), 0)
    assert not made.loss(past, past, where, noise).requires_grad
    own, other = (made.loss(past, past, where, noise, guess) for guess in (None, Same()))
    assert (own > 0).all() and (other == 0).all()


@pytest.mark.parametrize("change", [{"lower": (1.0,), "upper": (3.0,)}, {"upper": (5.0,)}, {"boundary": ("wall",)}])
def test_another_box_is_refused_but_another_resolution_is_not(change: dict[str, Any]) -> None:
    made = simple(operator=Same())
    with pytest.raises(ValueError, match="was trained on .* cannot run on"):
        made.begin(frames(1), conditions(1, box=replace(BOX, **change)))
    fine = conditions(1, box=BOX.with_shape((32,)))
    made(made.begin(torch.zeros(1, 1, 2, 32), fine), fine)


def test_another_dt_is_refused_unless_it_is_conditioned_on() -> None:
    with pytest.raises(ValueError, match=r"steps by dt=0\.25 but was asked for \[0\.5\]"):
        simple(operator=Same()).begin(frames(1), conditions(1, dt=0.5))
    made = simple(operator=Same(), parameters=("dt",))
    made.begin(frames(1), conditions(1, dt=0.5))
    embedded = made.embed(conditions(1, dt=0.5), frames(1))
    assert embedded is not None and embedded.item() == pytest.approx(torch.log(torch.tensor(2.0)).item())


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(KeyError, match=r"parameter 'viscosity' is not among the conditions \('drag',\)"):
        full().begin(frames(1, 2), conditions(1, drag=[0.1]))


@pytest.mark.parametrize("wrong", [{"history": 0}, {"bundle": 0}])
def test_no_history_or_bundle_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        simple(operator=Same(), **wrong)
    with pytest.raises(ValueError, match="dt positive"):
        Surrogate(FIELDS, BOX, 0.0, operator=Same())


def test_one_window_too_many_or_too_few_is_refused_by_the_rollout() -> None:
    where = conditions(1, viscosity=[0.5])
    build: Callable[[int], Tensor] = lambda h: frames(1, h)  # noqa: E731
    with pytest.raises(ValueError, match="past has 1 frames"):
        next(rollout(full(), build(1), 1, where.after))
