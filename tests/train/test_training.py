"""Training learns, repeats itself exactly when it is resumed, and leaves frozen parts alone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from errno import ENOSPC
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from surrogates.constraints import ConservedIntegral
from surrogates.data.module import DataModule
from surrogates.data.windows import Windows
from surrogates.domains import Sphere
from surrogates.noise import AtStep, SeededNoise
from surrogates.operators import FNO
from surrogates.refine import FlowMatching
from surrogates.saved import load, save
from surrogates.surrogate import Surrogate
from surrogates.train import EMA, OneStep, Optimiser, Pushforward, Rollouts, Settings, Training, train
from surrogates.train.build import check_fit
from surrogates.train.callbacks import Checkpoints
from surrogates.train.log import TRAIN, VALID

Make = Callable[..., Training]
SMALL = partial(FNO, width=8, modes=(5,), layers=2)


def files(folder: Path) -> dict[str, bytes]:
    return {n: (folder / n).read_bytes() for n in ("train.csv", "valid.csv", "weights.safetensors")}


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, how: Callable[[Checkpoints], None]) -> None:
    """Let something happen right after the checkpoint callback of a step."""
    whole = Checkpoints.__call__

    def interrupted(self: Checkpoints, now: int, *rest: Any) -> None:
        whole(self, now, *rest)
        if now == step:
            how(self)

    monkeypatch.setattr(Checkpoints, "__call__", interrupted)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours handles it."""


def kill(_: Checkpoints) -> None:
    raise Killed


def test_a_network_learns_to_carry_waves(training: Make, settings: Settings) -> None:
    run = train(training(), steps=150, settings=settings)
    losses = [row["loss"] for row in run.log.rows[TRAIN]]
    assert losses[-1] < 0.1 * losses[0]
    assert run.log.rows[VALID][-1]["nrmse_4"] < 0.2 < run.log.rows[VALID][0]["nrmse_4"]
    assert not run.surrogate.training and run.folder is None
    assert run.surrogate.parameters_used == ("speed",)


def test_two_runs_are_the_same_bit_for_bit_and_other_seeds_are_not(training: Make, settings: Settings) -> None:
    first, again, other = (train(training(seed=s, data={"seed": s}), steps=8, settings=settings) for s in (0, 0, 1))
    assert first.log.rows == again.log.rows != other.log.rows
    for a, b in zip(first.surrogate.state_dict().values(), again.surrogate.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("step", [5, 13, 22])  # at a checkpoint that is due, between two, and when only saving is left
def test_a_killed_run_resumes_to_the_same_bytes(
    training: Make, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    train(training(), steps=22, out=tmp_path / "whole", settings=settings)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_after(patch, step, kill)
        train(training(), steps=22, out=tmp_path / "cut", settings=settings)
    run = train(training(), steps=22, out=tmp_path / "cut", settings=settings)
    assert run.steps == (0 if step == 22 else 22 - step // 5 * 5)
    assert files(tmp_path / "whole") == files(tmp_path / "cut")
    assert not (tmp_path / "cut" / "checkpoint.ckpt").exists()


def test_a_stochastic_run_with_pushes_resumes_to_the_same_bytes(
    training: Make, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: dict[str, Any] = {"refiner": partial(FlowMatching, steps=2), "strategy": Pushforward(2), "data": {"bundle": 3}}
    train(training(**parts), steps=12, out=tmp_path / "whole", settings=settings)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_after(patch, 7, kill)
        train(training(**parts), steps=12, out=tmp_path / "cut", settings=settings)
    train(training(**parts), steps=12, out=tmp_path / "cut", settings=settings)
    assert files(tmp_path / "whole") == files(tmp_path / "cut")


def test_ctrl_c_ends_the_step_stores_it_and_resumes(
    training: Make, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(training(), steps=12, out=tmp_path / "whole", settings=settings)
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="after step 8 of 12"):
        stop_after(patch, 7, lambda _: os.kill(os.getpid(), signal.SIGINT))
        train(training(), steps=12, out=tmp_path / "cut", settings=settings)
    assert signal.getsignal(signal.SIGINT) is before
    assert train(training(), steps=12, out=tmp_path / "cut", settings=settings).steps == 4
    assert files(tmp_path / "whole") == files(tmp_path / "cut")


def test_a_second_ctrl_c_ends_at_once_and_the_last_checkpoint_serves(
    training: Make, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(_: Checkpoints) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    train(training(), steps=12, out=tmp_path / "whole", settings=settings)
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="at once"):
        stop_after(patch, 7, twice)
        train(training(), steps=12, out=tmp_path / "cut", settings=settings)
    assert signal.getsignal(signal.SIGINT) is before
    assert train(training(), steps=12, out=tmp_path / "cut", settings=settings).steps == 7
    assert files(tmp_path / "whole") == files(tmp_path / "cut")


def test_a_full_disk_leaves_the_last_checkpoint(
    training: Make, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Trainer.save_checkpoint

    def full(self: Trainer, file: Path, *rest: Any) -> None:
        whole(self, file, *rest)
        if self.global_step == 10:
            file.write_bytes(b"cut")
            raise OSError(ENOSPC, "No space left on device")

    train(training(), steps=12, out=tmp_path / "whole", settings=settings)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(Trainer, "save_checkpoint", full)
        train(training(), steps=12, out=tmp_path / "cut", settings=settings)
    assert not list((tmp_path / "cut").glob("*.part"))
    assert train(training(), steps=12, out=tmp_path / "cut", settings=settings).steps == 7
    assert files(tmp_path / "whole") == files(tmp_path / "cut")


def test_a_finished_run_is_not_trained_again(training: Make, settings: Settings, tmp_path: Path) -> None:
    first = train(training(), steps=6, out=tmp_path / "run", settings=settings)
    again = train(training(), steps=6, out=tmp_path / "run", settings=settings)
    assert again.steps == 0 and again.log.rows == first.log.rows
    state = first.surrogate.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in again.surrogate.state_dict().items())


def test_the_saved_weights_are_the_averaged_ones(training: Make, settings: Settings, tmp_path: Path) -> None:
    averaged = train(training(), steps=6, out=tmp_path / "a", settings=settings).surrogate
    bare = train(training(optimiser=Optimiser(lr=5e-3, warmup=5, ema=0.0)), steps=6, settings=settings).surrogate
    stored = load(tmp_path / "a")
    name = "operator.lift_out.weight"
    assert torch.equal(stored.state_dict()[name], averaged.state_dict()[name])
    assert not torch.equal(stored.state_dict()[name], bare.state_dict()[name])


def test_provenance_says_where_it_comes_from(training: Make, settings: Settings, tmp_path: Path) -> None:
    train(training(data={"fold": (1, 2)}), steps=4, out=tmp_path / "run", settings=settings)
    said = json.loads((tmp_path / "run" / "config.json").read_text())["provenance"]
    assert said["dataset"] == "waves" and said["steps"] == 4 and said["fold"] == [1, 2] and len(said["checksum"]) == 64
    assert "train_loss" in said and "valid_nrmse_4" in said


def test_another_run_in_the_folder_is_refused_and_says_how_it_differs(training: Make, settings: Settings, tmp_path: Path) -> None:
    train(training(), steps=4, out=tmp_path / "run", settings=settings)
    with pytest.raises(FileExistsError, match=r"holds another run: it differs in steps \(4 there, 5 here\)"):
        train(training(), steps=5, out=tmp_path / "run", settings=settings)
    with pytest.raises(FileExistsError, match=r"optimiser\.lr .*choose another output folder"):
        train(training(optimiser=Optimiser(lr=0.1)), steps=4, out=tmp_path / "run", settings=settings)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is no training run"):
        train(training(), steps=4, out=tmp_path / "notes", settings=settings)


def test_a_checkpoint_of_another_architecture_is_refused_before_training(
    training: Make, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_after(patch, 5, kill)
        train(training(), steps=10, out=out, settings=settings)
    stored = torch.load(out / "checkpoint.ckpt", weights_only=True)
    stored["state_dict"]["surrogate.operator.lift_out.weight"] = torch.zeros(9, 9)
    torch.save(stored, out / "checkpoint.ckpt")
    with pytest.raises(ValueError, match=r"another architecture: .*surrogate\.operator\.lift_out\.weight \(9, 9\)"):
        train(training(), steps=10, out=out, settings=settings)


@pytest.mark.parametrize("damage", ["truncated", "code"])
def test_a_damaged_checkpoint_or_one_with_code_is_refused(
    training: Make, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_after(patch, 5, kill)
        train(training(), steps=10, out=out, settings=settings)
    file = out / "checkpoint.ckpt"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:500])
    else:
        torch.save({"state_dict": os.system}, file)
    with pytest.raises(ValueError, match="damaged or no checkpoint of ours"):
        train(training(), steps=10, out=out, settings=settings)


def test_a_loss_that_is_not_finite_stops_the_run(training: Make, settings: Settings) -> None:
    with pytest.raises(ValueError, match="the loss is (nan|inf) by step .*learning rate"):
        train(training(optimiser=Optimiser(lr=1e30, warmup=0, clip=1e30)), steps=20, settings=settings)


def test_gradients_are_clipped_and_the_rate_is_that_of_the_step(
    training: Make, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []
    step = torch.optim.AdamW.step

    def spied(self: torch.optim.AdamW, *given: Any, **named: Any) -> Any:
        gradients = [p.grad for g in self.param_groups for p in g["params"]]
        seen.append((self.param_groups[0]["lr"], float(torch.stack([g.norm() for g in gradients]).norm())))
        return step(self, *given, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", spied)
    optimiser = Optimiser(lr=1e-3, warmup=2, clip=1e-3)
    train(training(optimiser=optimiser), steps=6, settings=settings)
    assert [rate for rate, _ in seen] == pytest.approx([optimiser.rate(n, 6) for n in range(6)])
    assert all(norm <= 1e-3 * 1.001 for _, norm in seen) and max(norm for _, norm in seen) > 0.9e-3


def test_parameters_are_standardised_by_the_training_split(training: Make) -> None:
    made = training()
    speeds = made.data.truth("train")["speed"].values
    assert float(made.surrogate.parameter_mean) == pytest.approx(speeds.mean())
    assert float(made.surrogate.parameter_std) == pytest.approx(speeds.std())
    assert training(parameters=()).surrogate.parameters_used == ()
    with pytest.raises(ValueError, match="no parameter 'sped' to condition on; .*did you mean 'speed'"):
        training(parameters=("sped",))


def test_a_frozen_guess_has_no_gradient_and_does_not_change(training: Make, settings: Settings, tmp_path: Path) -> None:
    guess = train(training(), steps=10, out=tmp_path / "guess", settings=settings).surrogate
    second = training(guess=tmp_path / "guess", refiner=FlowMatching)
    batch = next(iter(second.data.train_dataloader()))
    second.fit_scale()
    second.loss(batch, 0).backward()
    assert second.surrogate.operator is not None and second.surrogate.refiner is not None
    assert all(p.grad is None for p in second.surrogate.operator.parameters())
    assert any(p.grad is not None for p in second.surrogate.refiner.parameters())
    assert len(second.weights) == len(list(second.surrogate.refiner.parameters()))  # neither optimised nor averaged
    trained = train(training(guess=tmp_path / "guess", refiner=FlowMatching), steps=10, settings=settings).surrogate
    for name, value in guess.state_dict().items():
        if name.startswith(("operator.", "normaliser.")):
            assert torch.equal(trained.state_dict()[name], value), name
    past, conditions = batch.past, batch.conditions
    same = [s(s.begin(past, conditions), conditions)[0] for s in (guess, trained)]  # without noise: the guess
    assert torch.equal(*same)


def test_the_scale_of_the_residual_is_fitted_before_training(training: Make, settings: Settings, tmp_path: Path) -> None:
    guess = train(training(), steps=60, out=tmp_path / "guess", settings=settings).surrogate
    second = training(guess=tmp_path / "guess", refiner=FlowMatching)
    second.fit_scale()
    windows = second.data.windows("train")
    batch = windows.batch(list(range(len(windows))))
    truth = guess.target.encode(batch.future, batch.past[:, -1], guess.normaliser)
    with torch.no_grad():
        _, _, first = guess.prepare(batch.past, batch.conditions)
    expected = (truth - first).square().mean().sqrt()
    assert second.surrogate.refiner is not None
    torch.testing.assert_close(second.surrogate.refiner.scale[0], expected, rtol=1e-4, atol=0)  # all windows are fewer than the sample
    trained = train(training(guess=tmp_path / "guess", refiner=FlowMatching), steps=1, settings=settings).surrogate
    assert torch.equal(trained.refiner.scale, second.surrogate.refiner.scale)  # type: ignore[union-attr,arg-type]


def test_a_joint_guess_learns_from_its_own_error_alone(training: Make, settings: Settings) -> None:
    network = partial(FNO, width=6, modes=(4,), layers=1)
    both, alone = training(guess=network, refiner=FlowMatching), training(operator=network)
    alone.surrogate.operator.load_state_dict(both.surrogate.operator.state_dict())  # type: ignore[union-attr]
    batch = next(iter(both.data.train_dataloader()))
    both.loss(batch, 0).backward()
    alone.loss(batch, 0).backward()
    pairs = zip(both.surrogate.operator.parameters(), alone.surrogate.operator.parameters(), strict=True)  # type: ignore[union-attr]
    for p, q in pairs:
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-5, atol=1e-8)
    assert all(p.grad is not None for p in both.surrogate.refiner.parameters())  # type: ignore[union-attr]


def test_the_scale_follows_a_joint_guess(training: Make, settings: Settings) -> None:
    made = training(guess=partial(FNO, width=6, modes=(4,), layers=1), refiner=FlowMatching)
    made.fit_scale()
    before = float(made.surrogate.refiner.scale)  # type: ignore[union-attr,arg-type]
    trained = train(made, steps=300, settings=settings).surrogate
    windows = made.data.windows("train")
    batch = windows.batch(list(range(len(windows))))
    with torch.no_grad():
        _, _, first = trained.prepare(batch.past, batch.conditions)
    truth = trained.target.encode(batch.future, batch.past[:, -1], trained.normaliser)
    left = float((truth - first).square().mean().sqrt())
    assert left < 0.7 * before and abs(float(trained.refiner.scale) / left - 1) < 0.3  # type: ignore[union-attr,arg-type]


def test_a_guess_that_does_not_fit_the_data_is_refused(training: Make, settings: Settings, tmp_path: Path) -> None:
    train(training(), steps=2, out=tmp_path / "guess", settings=settings)
    with pytest.raises(ValueError, match="was trained with history=1 but the data here have history=2"):
        training(guess=tmp_path / "guess", refiner=FlowMatching, data={"history": 2})
    with pytest.raises(ValueError, match="a refiner is trained"):
        training(guess=tmp_path / "guess")
    generative = train(training(refiner=FlowMatching), steps=2, settings=settings).surrogate
    save(generative, tmp_path / "generative")
    with pytest.raises(ValueError, match="no deterministic operator"):
        training(guess=tmp_path / "generative", refiner=FlowMatching)


def test_a_refiner_inherits_the_law_of_its_guess_unless_it_is_given_one_or_none(training: Make, settings: Settings, tmp_path: Path) -> None:
    law = partial(ConservedIntegral, field="u")
    train(training(laws=[law]), steps=1, out=tmp_path / "guess", settings=settings)
    given = {"guess": tmp_path / "guess", "refiner": FlowMatching}
    assert isinstance(training(**given).surrogate.constraint, ConservedIntegral)
    assert training(**given, laws=[]).surrogate.constraint is None
    assert training(**given, laws=None, correct_sampling=True).surrogate.correct_sampling


def test_a_refiner_goes_around_a_guess_on_the_same_sphere_and_no_other(
    training: Make, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    guess = train(training(), steps=1, settings=settings).surrogate
    made, data = Surrogate(**{**guess.arguments, "domain": Sphere((4, 8))}), training().data  # type: ignore[attr-defined]
    data.windows("train")
    monkeypatch.setattr(DataModule, "domain", Sphere((4, 8)))
    check_fit(made, data, 1, "here")
    monkeypatch.setattr(DataModule, "domain", Sphere((4, 8), radius=2.0))
    with pytest.raises(ValueError, match="was trained on"):
        check_fit(made, data, 1, "here")


def test_randomness_is_keyed_by_step_and_window_alone(training: Make) -> None:
    """The loss of a window does not depend on its batch, and changes with the step."""
    made = training(refiner=FlowMatching)
    windows = made.data.windows("train")
    together = made.loss(windows.batch([3, 40]), 7)
    alone = [made.loss(windows.batch([i]), 7) for i in (3, 40)]
    torch.testing.assert_close(together, sum(alone) / 2, rtol=1e-6, atol=0)
    assert made.loss(windows.batch([3]), 8) != alone[0]


def test_mixed_precision_learns_too(training: Make) -> None:
    mixed = Settings(precision="bf16-mixed", accelerator="cpu", log_every=10, validate_every=0, tensorboard=False, progress=False)
    losses = [row["loss"] for row in train(training(), steps=60, settings=mixed).log.rows[TRAIN]]
    assert losses[-1] < 0.5 * losses[0]


def test_one_step_is_pushforward_without_pushes(training: Make) -> None:
    made = training()
    batch = made.data.windows("train").batch([1, 9, 30])
    noise = SeededNoise(0, batch.windows.tolist(), [0] * 3)
    given = (made.surrogate, batch.past, batch.future, batch.conditions, noise, 0)
    assert torch.equal(OneStep()(*given), Pushforward(0)(*given))
    assert torch.equal(OneStep()(*given), Pushforward(3, after=1)(*given))  # not yet


def test_a_push_feeds_the_models_own_output_and_has_no_gradient(training: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = training(data={"bundle": 3}, strategy=Pushforward(2))
    surrogate, batch = made.surrogate, made.data.windows("train").batch([1, 9])
    noise = SeededNoise(0, batch.windows.tolist(), [0, 0])
    monkeypatch.setattr(Pushforward, "count", lambda *_: 2)
    past = batch.past.clone().requires_grad_()
    loss = Pushforward(2)(surrogate, past, batch.future, batch.conditions, noise, 0)
    loss.sum().backward()
    assert past.grad is None  # the pushes are cut off
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in surrogate.parameters())
    with torch.no_grad():
        state = surrogate.begin(batch.past, batch.conditions)
        for n in range(2):
            _, state = surrogate(state, batch.conditions.after(n))
    expected = surrogate.loss(state["past"], batch.future[:, 2:3], batch.conditions.after(2), AtStep(noise, 2))
    torch.testing.assert_close(loss, expected)


def test_pushes_move_time_and_noise_on(training: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a law, a forcing or a refiner is told during a push is what it would be told in a rollout."""
    made = training(data={"bundle": 6}, strategy=Pushforward(2), refiner=FlowMatching)
    surrogate, batch = made.surrogate, made.data.windows("train").batch([1, 9])
    said: list[tuple[float, int]] = []
    forward, loss = type(surrogate).forward, type(surrogate).loss

    def stepped(self: Any, state: Any, conditions: Any, noise: Any = None) -> Any:
        said.append((float(conditions.time[0]), int(state["step"])))
        return forward(self, state, conditions, noise)

    def judged(self: Any, past: Any, future: Any, conditions: Any, noise: Any, guess: Any = None) -> Any:
        said.append((float(conditions.time[0]), noise.step))
        assert torch.equal(future, batch.future[:, 4:6])
        return loss(self, past, future, conditions, noise, guess)

    monkeypatch.setattr(Pushforward, "count", lambda *_: 2)
    monkeypatch.setattr(type(surrogate), "forward", stepped)
    monkeypatch.setattr(type(surrogate), "loss", judged)
    made.loss(batch, 0)
    start = float(batch.conditions.time[0])
    assert [s for _, s in said] == [0, 1, 2]
    assert [t - start for t, _ in said] == pytest.approx([0.0, 0.2, 0.4])  # bundles of two frames of .1


def test_pushes_are_drawn_evenly() -> None:
    strategy = Pushforward(2)
    counts = [strategy.count(SeededNoise(n, [0], [0]), 1) for n in range(600)]
    shares = torch.bincount(torch.tensor(counts), minlength=3) / 600
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.06, rtol=0)


def test_windows_too_short_for_the_pushes_are_refused(training: Make) -> None:
    with pytest.raises(ValueError, match="multiple of 3; set `data: {bundle: 3}`"):
        training(strategy=Pushforward(2))


def test_ema_survives_a_checkpoint_exactly() -> None:
    layer, ema = torch.nn.Linear(2, 2), EMA(0.9)
    ema.update(list(layer.parameters()))
    again = EMA(0.9)
    again.load_state_dict(ema.state_dict())
    assert again.count == 1 and all(torch.equal(a, b) for a, b in zip(again.average, ema.average, strict=True))


def test_the_scale_is_fitted_on_the_strides_of_training(training: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = training(refiner=FlowMatching, data={"strides": [1, 2, 4], "batch_size": 8})
    seen: list[float] = []
    inner = Windows.batch

    def spied(self: Windows, *given: Any) -> Any:
        batch = inner(self, *given)
        seen.extend((batch.conditions.dt / self.dt).round().tolist())
        return batch

    monkeypatch.setattr(Windows, "batch", spied)
    made.fit_scale()
    assert set(seen) == {1.0, 2.0, 4.0}


def test_short_trajectories_take_no_place_in_validation(training: Make) -> None:
    made = training()
    whole, surrogate = made.data.truth("train"), made.surrogate.eval()
    short = whole.isel(time=slice(0, 2))
    rollouts = Rollouts(trajectories=2, leads=(4,))
    assert rollouts.scores(surrogate, [short, whole]) == rollouts.scores(surrogate, whole)
    with pytest.warns(UserWarning, match="no validation rollout reaches lead 4"):
        assert rollouts.scores(surrogate, short) == {}
