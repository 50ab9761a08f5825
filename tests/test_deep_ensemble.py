"""A deep ensemble: each member is one surrogate's own forecast; the laws of a Step; the engine; what differs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from laws import step_laws

from surrogates.bench.contenders import ENSEMBLE, Contender
from surrogates.constraints import ConservedIntegral
from surrogates.contracts import Conditions, Step
from surrogates.deep_ensemble import DeepEnsemble
from surrogates.domains import Box, Mesh
from surrogates.fields import Field, Fields
from surrogates.forecast import simulate
from surrogates.interchange import to_xarray
from surrogates.noise import SeededNoise
from surrogates.operators import ConvNet
from surrogates.refine import FEATURES, FlowMatching
from surrogates.rollout import rollout
from surrogates.saved import CARD, load, save
from surrogates.surrogate import Surrogate

FIELDS = Fields.of(Field("u", "m s-1"))
BOX = Box.periodic((16,), 2.0)


def network(inputs: int, embedding: int, seed: int) -> ConvNet:
    torch.manual_seed(seed)
    return ConvNet(inputs, 1, embedding, dim=1, width=4, layers=1)


def surrogate(seed: int, generative: bool = False, **more: object) -> Surrogate:
    refiner = FlowMatching(network(4, FEATURES, seed + 10), channels=1, steps=2) if generative else None
    given: dict[str, object] = {"history": 2, "constraint": ConservedIntegral(FIELDS, "u"), **more}
    return Surrogate(FIELDS, BOX, 0.1, operator=network(2, 0, seed), refiner=refiner, **given).eval()  # type: ignore[arg-type]


def conditions(rows: int) -> Conditions:
    one = torch.ones(rows, dtype=torch.float64)
    return Conditions(BOX, 0 * one, 0.1 * one, torch.zeros(rows, 0, dtype=torch.float64))


def past(rows: int) -> torch.Tensor:
    return torch.randn(rows, 2, 1, 16, generator=torch.Generator().manual_seed(1))


def run(step: Step, u: torch.Tensor, members: list[int]) -> torch.Tensor:
    noise = SeededNoise(5, [3] * len(u), members)
    with torch.no_grad():
        return torch.stack(list(rollout(step, u, 4, conditions(len(u)).after, noise)), 1)


@pytest.mark.parametrize("generative", [False, True])
def test_a_member_is_the_forecast_of_its_network(generative: bool) -> None:
    three = [surrogate(seed, generative) for seed in range(3)]
    for s in three:
        s.coherence.fill_(0.5)
    u, members = past(1).expand(7, -1, -1, -1).contiguous(), [0, 1, 2, 3, 5, 4, 1]
    whole = run(DeepEnsemble(three), u, members)
    for row, m in enumerate(members):
        torch.testing.assert_close(whole[row], run(three[m % 3], u[:1], [m])[0], rtol=1e-5, atol=1e-6)
    assert torch.equal(whole[0], whole[3]) != generative  # one deterministic network has one forecast
    assert (whole[0] - whole[1]).abs().max() > 1e-3


class Adds(torch.nn.Module):
    """A network for any mesh: what it adds is the same everywhere."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount

    def forward(self, x: torch.Tensor, domain: object, embedding: torch.Tensor | None = None) -> torch.Tensor:
        return torch.full_like(x[:, -1:], self.amount)


@pytest.mark.parametrize("rows", [1, 3])
def test_on_meshes_joined_to_one_every_member_keeps_its_own_budget(rows: int) -> None:
    """A row holds all members of the domain, so references, times and parameters have as many entries a row."""
    generator = torch.Generator().manual_seed(0)
    meshes = [Mesh.from_nearest(torch.rand(n, 2, generator=generator, dtype=torch.float64), 3) for n in (9, 12)]
    whole = Mesh.batch(meshes)
    law = ConservedIntegral(FIELDS, "u", decay="drag")
    made = [Surrogate(FIELDS, whole, 0.1, operator=Adds(a), constraint=law) for a in (0.1, 0.2)]
    u = torch.randn(rows, 1, 1, *whole.shape, generator=generator, dtype=torch.float64) + 1
    one = torch.ones(2 * rows, dtype=torch.float64)
    drag = torch.arange(2.0 * rows, dtype=torch.float64)[:, None]
    where = Conditions(whole, 0 * one, 0.1 * one, drag, ("drag",))
    noise = SeededNoise(0, [0] * rows, [1, 0, 3][:rows])
    frames = list(rollout(DeepEnsemble(made), u, 3, where.after, noise))
    start = whole.integral(u[:, 0])
    for n, frame in enumerate(frames, start=1):
        torch.testing.assert_close(whole.integral(frame), start * torch.exp(-drag * 0.1 * n), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("generative", [False, True])
def test_the_laws_of_a_step(generative: bool) -> None:
    step = DeepEnsemble([surrogate(0, generative), surrogate(1, generative)])
    assert isinstance(step, Step)
    with torch.no_grad():
        step_laws(step, past(5), conditions(5), lambda rows: SeededNoise(7, rows.tolist(), rows.tolist()), rounding=2e-5)
        step_laws(step, past(3), conditions(3), lambda rows: None, rounding=2e-5)


def test_without_noise_the_first_network_forecasts() -> None:
    one, two = surrogate(0), surrogate(1)
    with torch.no_grad():
        frames = [torch.stack(list(rollout(s, past(2), 3, conditions(2).after)), 1) for s in (DeepEnsemble([one, two]), one)]
    assert torch.equal(*frames)


def test_the_engine_and_the_bench_run_it_in_any_groups() -> None:
    step = DeepEnsemble([surrogate(seed) for seed in range(3)])
    truth = to_xarray(past(2), FIELDS, BOX, time=[0.0, 0.1], trajectories=[4, 9])
    whole = simulate(step, truth, 5, members=4, seed=1)
    parts = simulate(step, truth, 5, members=4, seed=1, group=3, chunk=2)
    u, v = (torch.from_numpy(d["u"].values) for d in (whole, parts))
    torch.testing.assert_close(u, v, rtol=1e-5, atol=1e-6)
    spread = u.std(1)
    assert spread[:, 0].min() > 0 and torch.equal(u[:, 0], u[:, 3])  # member 3 is network 0 again
    contender = Contender("deep", "deep ensemble", ENSEMBLE, step, members=3, seed=1, evaluations=step.evaluations / step.bundle)
    assert contender.identity()["step"]["class"].endswith("DeepEnsemble") and contender.evaluations == 1


def test_it_streams_to_zarr_and_is_read_again(tmp_path: Path) -> None:
    step = DeepEnsemble([surrogate(seed, True) for seed in range(2)])
    truth = to_xarray(past(2), FIELDS, BOX, time=[0.0, 0.1], trajectories=[4, 9])
    whole = simulate(step, truth, 6, members=2, group=2, chunk=2)
    stored = simulate(step, truth, 6, members=2, group=2, chunk=2, out=tmp_path / "f.zarr")
    again = simulate(step, truth, 6, members=2, group=2, chunk=2, out=tmp_path / "f.zarr")
    for other in (stored, again):
        assert (other["u"].values == whole["u"].values).all()


def test_it_is_saved_whole_and_loaded(tmp_path: Path) -> None:
    step = DeepEnsemble([surrogate(0, True), surrogate(1, True)])
    again = load(save(step, tmp_path / "ensemble", {"seeds": "0, 1"}))
    assert isinstance(again, DeepEnsemble) and "m s-1" in (tmp_path / "ensemble" / CARD).read_text()
    assert torch.equal(run(again, past(4), [0, 1, 2, 3]), run(step, past(4), [0, 1, 2, 3]))


def test_counts_the_evaluations_of_one_member() -> None:
    assert DeepEnsemble([surrogate(0), surrogate(1)]).evaluations == 1
    assert DeepEnsemble([surrogate(0, True), surrogate(1, True)]).evaluations == 3


def test_what_does_not_belong_together_is_told() -> None:
    with pytest.raises(ValueError, match="two networks at least"):
        DeepEnsemble([surrogate(0)])
    other = Surrogate(FIELDS, BOX, 0.2, operator=network(1, 0, 0))
    with pytest.raises(ValueError, match="networks 0 and 1 of the ensemble differ in dt 0.1 and 0.2, history 2 and 1, constraint"):
        DeepEnsemble([surrogate(0), other])
    with pytest.raises(ValueError, match="differ in refiner NoneType and FlowMatching"):
        DeepEnsemble([surrogate(0), surrogate(1, True)])


def test_noise_that_knows_no_members_is_refused() -> None:
    def noise(like: torch.Tensor, *, step: int, draw: int) -> torch.Tensor:
        return torch.zeros_like(like)

    step = DeepEnsemble([surrogate(0), surrogate(1)])
    with pytest.raises(TypeError, match="takes SeededNoise"):
        step(step.begin(past(2), conditions(2)), conditions(2), noise)
