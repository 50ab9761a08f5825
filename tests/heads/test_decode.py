"""A surrogate under a head: laws hold for hundreds of steps of random networks, exact flows are rolled out exactly, errors are named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from heads_shared import BOXES, Foreign, around, draw, fields_of, statistics, triangles
from laws import step_laws
from torch import Tensor, nn

from surrogates.constraints import ConservedIntegral, DivergenceFree
from surrogates.contracts import Domain, Step
from surrogates.domains import Box, Masked, Mesh, Patch, Sphere
from surrogates.fields import Field, Fields
from surrogates.heads import FluxForm, SideBySide, StreamFunction, VectorPotential
from surrogates.heads.decode import SizedHead, channels_of, length_of
from surrogates.noise import AtStep, SeededNoise
from surrogates.operators import FNO, MeshGraphNet
from surrogates.refine import FEATURES, FlowMatching
from surrogates.rollout import rollout
from surrogates.saved import load, save
from surrogates.surrogate import Surrogate
from surrogates.target import Absolute, Target, Tendency

DT = 0.1
FLOW = Fields.of(Field("velocity", "m s-1", ("x", "y")))


class Mixing(nn.Module):
    """Random weights on any grid: a point and its neighbours, mixed twice."""

    def __init__(self, inputs: int, outputs: int, dim: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(inputs * (1 + dim), 16), nn.Linear(16, outputs)

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        near = torch.cat([x, *(x.roll(1, a) for a in range(2, x.ndim))], 1).movedim(1, -1)
        made: Tensor = self.second(self.first(near).tanh()).movedim(-1, 1)
        return made


def random_surrogate(domain: Domain, head: SizedHead, fields: Fields, bundle: int = 1, **more: Any) -> Surrogate:
    """Random weights, outputs of about 1, and statistics by which a step moves the state by a hundredth of its spread."""
    torch.manual_seed(0)
    inputs, outputs = fields.count * more.get("history", 1), bundle * channels_of(head, fields.count, domain)
    if isinstance(domain, Mesh):
        operator: nn.Module = MeshGraphNet(inputs, outputs, width=8, layers=2)
    else:
        operator = Mixing(inputs, outputs, len(domain.shape))
    made = Surrogate(fields, domain, DT, operator=operator, head=head, bundle=bundle, **more)
    made.normaliser.load_state_dict(statistics(fields, len(domain.shape), 0.02).state_dict())
    return made.eval()


@pytest.mark.parametrize(("name", "steps"), [("flow and tracer", 200), ("closed basin", 50), ("sphere", 50), ("duct", 50)])
def test_the_laws_stay_at_rounding(name: str, steps: int) -> None:
    domain: Box | Sphere = {
        "flow and tracer": Box.periodic((8, 8), (2.0, 3.0)),
        "closed basin": BOXES["stretched basin"],
        "sphere": Sphere((8, 16), "legendre-gauss", radius=2.0),
        "duct": Box((4, 4, 4), (0.0,) * 3, (1.0,) * 3, ("wall", "periodic", "periodic")),
    }[name]
    fields = fields_of(domain)
    flow = VectorPotential(fields) if domain.dim == 3 else StreamFunction(fields)
    made = random_surrogate(domain, SideBySide((flow, FluxForm(fields, "q", lower=0.0))), fields)
    past, where = draw(2, 1, fields.count, *domain.shape, dtype=torch.float32), around(domain, 2, DT)
    past[:, :, -1] = past[:, :, -1].abs()
    divergence, mass = DivergenceFree(fields), ConservedIntegral(fields, "q")
    start, none = mass.reference(past[:, -1], where), divergence.reference(past[:, -1], where)
    assert (divergence.defect(past[:, -1], none, where) > 0.1).all()
    with torch.no_grad():
        for n, u in enumerate(rollout(made, past, steps, where.after), start=1):
            if n in (1, steps // 2, steps):
                assert u.isfinite().all() and (divergence.defect(u, none, where) < 3e-6).all()
                assert (mass.defect(u, start, where).abs() < 2e-6).all() and (u[:, -1] >= 0).all()
    assert all((u[:, c] - past[:, -1, c]).abs().max() > 0.1 for c in range(fields.count)), "nothing moved"


def test_mass_on_meshes_stays() -> None:
    fields, meshes = Fields.of(Field("T"), Field("q")), [triangles(6, 1), triangles(9, 2)]
    batch = Mesh.batch(meshes)
    made = random_surrogate(batch, FluxForm(fields, "q", lower=0.0), fields)
    past, where = draw(1, 1, 2, *batch.shape, dtype=torch.float32).abs(), around(batch, 1, DT)
    mass = ConservedIntegral(fields, "q")
    start = mass.reference(past[:, -1], where)
    with torch.no_grad():
        *_, u = rollout(made, past, 100, where.after)
    assert (mass.defect(u, start, where).abs() < 2e-6).all() and (u[:, 1] >= 0).all() and (u[:, 1] - past[:, 0, 1]).abs().max() > 0.1


class Eddies(nn.Module):
    """The outputs that let Taylor and Green's flow decay by `factor` a frame, read off its amplitude; other channels get none."""

    def __init__(self, box: Box, factor: float, size: float, bundle: int) -> None:
        super().__init__()
        x, y = box.grid()
        k = 2 * math.pi / box.lengths[0]
        self.psi, self.k, self.factor, self.size, self.bundle = torch.cos(k * x) * torch.sin(k * y), k, factor, size, bundle

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        amplitude = (2 * x[:, -3, 0, 0] + 1)[:, None, None] / self.k  # what the normaliser did is undone
        frames = []
        for j in range(self.bundle):
            change = (self.factor - 1) * self.factor**j * amplitude * self.psi / self.size
            frames += [change, 0 * change]
        return torch.stack(frames, 1)


@pytest.mark.parametrize("bundle", [1, 3])
def test_an_exact_solution_is_rolled_out_exactly(bundle: int) -> None:
    """Sixty frames of the Taylor-Green flow beside a scalar that its target leaves alone."""
    box, fields = Box.periodic((8, 8), 3.0), Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("T"))
    head, stats = StreamFunction(fields), statistics(fields, 2)
    size = float(head.sizes(stats, box, DT)[0])
    operator = Eddies(box, 0.97, size, bundle)
    made = Surrogate(fields, box, DT, operator=operator, head=head, bundle=bundle)
    made.normaliser.load_state_dict(stats.state_dict())
    k, (x, y) = operator.k, box.grid()
    flow = k * torch.stack([torch.cos(k * x) * torch.cos(k * y), torch.sin(k * x) * torch.sin(k * y), x])
    start = torch.stack([flow, 2 * flow])[:, None]
    for n, u in enumerate(rollout(made, start, 60, around(box, 2, DT).after), start=1):
        torch.testing.assert_close(u[:, :2], 0.97**n * start[:, 0, :2], rtol=0, atol=1e-6)
        torch.testing.assert_close(u[:, 2], start[:, 0, 2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("target", [Tendency(), Absolute()])
def test_the_other_channels_are_the_targets(target: Target) -> None:
    """Bit for bit what the same outputs make without a head, bundle and all."""
    box = BOXES["periodic"]
    fields, bundle = fields_of(box), 3
    made = random_surrogate(box, StreamFunction(fields), fields, bundle, target=target)
    past, y = draw(2, 1, 4, 8, 6), draw(2, 9, 8, 6, seed=1)
    u = made.decode(y, past, around(box, 2, DT))
    full = draw(2, bundle, 4, 8, 6, seed=2)
    full[:, :, [0, 3]] = y.reshape(2, 3, 3, 8, 6)[:, :, 1:]
    plain = target.decode(full.flatten(1, 2), past[:, -1], made.normaliser)
    assert torch.equal(u[:, :, [0, 3]], plain[:, :, [0, 3]]) and not torch.allclose(u[:, :, 1], plain[:, :, 1])


def test_a_bundle_is_one_frame_after_another_in_time() -> None:
    """A source that grows with time is taken at each frame's own time."""
    box, fields = Box.periodic((6,), 1.0), Fields.of(Field("rho"))
    made = random_surrogate(box, FluxForm(fields, "rho", forced=True), fields, 4)
    where = around(box, 1, DT, source_term=lambda t: t[:, None, None].expand(1, 1, 6))
    u = made.decode(draw(1, 4, 6), torch.zeros(1, 1, 1, 6, dtype=torch.float64), where)
    expected = torch.tensor([(DT * n) ** 2 / 2 for n in range(1, 5)], dtype=torch.float64)
    torch.testing.assert_close(u.mean((2, 3))[0], expected)


def test_it_is_a_step_and_other_units_change_nothing() -> None:
    box = Box.periodic((8, 8), 2.0)
    fields = fields_of(box)
    made = random_surrogate(box, SideBySide((StreamFunction(fields, mean_flow=True), FluxForm(fields, "q"))), fields, 2, history=2)
    past, where = draw(3, 2, 4, 8, 8, dtype=torch.float32), around(box, 3, DT)
    assert isinstance(made, Step) and made.evaluations == 1 and not made.generative
    with torch.no_grad():
        step_laws(made, past, where, lambda rows: None, rounding=1e-5)
        one = torch.stack(list(rollout(made, past, 4, where.after)), 1)
        units = torch.tensor([1.0, 1000.0, 1000.0, 0.01]).reshape(4, 1, 1)
        for buffer in made.normaliser.buffers():
            buffer.mul_(units)
        other = torch.stack(list(rollout(made, past * units, 4, where.after)), 1)
    torch.testing.assert_close(other / units, one, rtol=0, atol=1e-4)


def test_the_loss_compares_what_was_made_with_the_truth_in_normalised_units() -> None:
    box = Box.periodic((8, 8), 2.0)
    fields = fields_of(box)
    made = random_surrogate(box, StreamFunction(fields), fields).double()
    past, future, where = draw(2, 1, 4, 8, 8), draw(2, 1, 4, 8, 8, seed=1), around(box, 2, DT)
    noise = AtStep(SeededNoise(0, [0, 1], [0, 0]), 0)
    loss = made.loss(past, future, where, noise)
    u, _ = made(made.begin(past, where), where)
    torch.testing.assert_close(loss, ((u - future) / made.normaliser.tendency_std).square().flatten(1).mean(1))
    assert (made.loss(past, u.detach(), where, noise) < 1e-24).all()
    (g,) = torch.autograd.grad(loss.sum(), next(iter(made.parameters())))
    assert g.isfinite().all() and g.abs().max() > 0


def test_it_is_saved_and_loaded_with_its_head(tmp_path: Path) -> None:
    box = BOXES["channel"]
    fields = fields_of(box)
    head = SideBySide((StreamFunction(fields, mean_flow=True), FluxForm(fields, "q", upper=1.0)))
    operator = FNO(4, channels_of(head, 4, box), width=4, modes=(3, 3), layers=1)
    made = Surrogate(fields, box, DT, operator=operator, head=head)
    made.normaliser.load_state_dict(statistics(fields, 2, 0.02).state_dict())
    past, where = draw(2, 1, 4, 8, 6, dtype=torch.float32), around(box, 2, DT)
    save(made, tmp_path / "s")
    again = load(tmp_path / "s")
    with torch.no_grad():
        one, other = (list(rollout(s, past, 3, where.after)) for s in (made, again))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert again.head.heads[0].mean_flow and again.head.heads[1].upper == 1.0
    assert "head `SideBySide`" in (tmp_path / "s" / "card.md").read_text()


def test_a_law_may_act_on_what_a_head_made() -> None:
    """The mean flow decays as its law says; the flow stays free of divergence."""
    box = Box.periodic((8, 8), 2.0)
    law = ConservedIntegral(FLOW, "velocity")
    made = random_surrogate(box, StreamFunction(FLOW, mean_flow=True), FLOW, constraint=law)
    past, where = draw(1, 1, 2, 8, 8), around(box, 1, DT)
    with torch.no_grad():
        *_, u = rollout(made.double(), past, 5, where.after)
    torch.testing.assert_close(box.average(u), box.average(past[:, 0]))
    assert DivergenceFree(FLOW).defect(u, law.reference(u, where)[:, :0], where).max() < 1e-13


def test_the_length_of_a_part_of_the_earth_is_its_own() -> None:
    """A small patch has that of the plane box it nearly is, not the planet's radius."""
    patch = Patch((8, 8), -1.0, 1.0, 0.0, 2.0, radius=6.4e6, units="m")
    side = 6.4e6 * math.radians(2.0)
    assert length_of(patch) == pytest.approx(length_of(Box.periodic((8, 8), side)), rel=1e-3)
    assert (
        length_of(Masked(patch, torch.ones(8, 8, dtype=torch.bool))) == length_of(patch) and length_of(Sphere((8, 16), radius=3.0)) == 3.0
    )


def test_what_it_cannot_do_is_named() -> None:
    box = BOXES["periodic"]
    fields = fields_of(box)
    wrong = Surrogate(fields, box, DT, operator=FNO(4, 4, width=4, modes=(3, 3), layers=1), head=StreamFunction(fields))
    with pytest.raises(ValueError, match=r"the network gives 4 channels but a frame takes 3: 1 for StreamFunction and 2 for the channels"):
        wrong(wrong.begin(draw(1, 1, 4, 8, 6, dtype=torch.float32), around(box, 1, DT)), around(box, 1, DT))
    refiner = FlowMatching(FNO(8, 4, FEATURES, width=4, modes=(3, 3), layers=1), channels=4)
    with pytest.raises(ValueError, match="a refiner draws states or increments, which StreamFunction would not make"):
        Surrogate(fields, box, DT, refiner=refiner, head=StreamFunction(fields))
    with pytest.raises(ValueError, match="a head knows the length of a Box, a Patch, a Sphere and a Mesh, not of a Foreign"):
        length_of(Foreign())
