"""What every few-step refiner passes on every kind of domain, and the law of two modes in one and two steps."""

import json

import pytest
import torch
from few_step import EXAMPLES, build, distance, trained
from laws import refiner_laws
from networks import cloud
from refiners import DOMAINS, EMBEDDING, ROWS, C

from surrogates.domains import Mesh
from surrogates.noise import AtStep, SeededNoise
from surrogates.record import construct, describe
from surrogates.refine.consistency import Consistency
from surrogates.refine.distilled import DistilledConsistency
from surrogates.refine.features import FEATURES
from surrogates.refine.flow_matching import FlowMatching
from surrogates.refine.mean_flow import MeanFlow
from surrogates.refine.reflow import Reflow
from surrogates.refine.samplers import heun
from surrogates.refine.shortcut import Shortcut
from surrogates.refine.split_mean_flow import SplitMeanFlow
from surrogates.refine.velocity_tail import VelocityTail
from surrogates.train.build import operator_sizes
from surrogates.train.part import part

EVERY = pytest.mark.parametrize("name", EXAMPLES)


def draws(rows):
    return AtStep(SeededNoise(7, [10 + int(r) // 2 for r in rows], [int(r) % 2 for r in rows]), 3)


def inputs(domain, guess):
    """truth, guess, context, embedding."""
    g = torch.Generator().manual_seed(1)
    u = [torch.randn(ROWS, C, *domain.shape, generator=g, dtype=torch.float64) for _ in range(3)]
    e = torch.randn(ROWS * domain.members, EMBEDDING, generator=g, dtype=torch.float64)
    return u[0], u[1] if guess else None, u[2], e


@pytest.mark.parametrize("where", ["line", "sphere", "mesh"])
@EVERY
def test_the_laws_of_refiners(name, where):
    guess, domain = where == "sphere", DOMAINS[where]
    truth, first, context, embedding = inputs(domain, guess)
    refiner_laws(build(EXAMPLES[name], domain, guess), truth, first, context, embedding, domain, draws, rounding=1e-10)


@EVERY
def test_a_loss_for_each_of_several_meshes(name):
    """Two clouds as one block-diagonal mesh have the losses that each would have with its own noise and times."""
    domain = Mesh.batch([cloud(7), cloud(9)])
    refiner = build(EXAMPLES[name], domain, False)
    g = torch.Generator().manual_seed(1)
    truth, context = (torch.randn(1, C, 16, generator=g, dtype=torch.float64) for _ in range(2))
    embedding = torch.randn(2, EMBEDDING, generator=g, dtype=torch.float64)
    loss = refiner.loss(truth, None, context, embedding, domain, draws([0]))
    assert loss.shape == (2,) and loss[0] != loss[1] and loss.isfinite().all()
    assert refiner(None, context, embedding, domain, draws([0])).shape == (1, C, 16)


@EVERY
def test_a_refiner_writes_itself_down(name):
    domain = DOMAINS["line"]
    refiner, (_, _, context, embedding) = build(EXAMPLES[name], domain, False), inputs(domain, False)
    refiner.scale.fill_(0.3)
    again = construct(json.loads(json.dumps(describe(refiner)))).double()
    again.load_state_dict(refiner.state_dict())
    x, y = (f(None, context, embedding, domain, draws(range(ROWS))) for f in (refiner, again))
    assert torch.equal(x, y)


@EVERY
def test_the_loss_is_that_of_each_row_alone(name):
    domain = DOMAINS["line"]
    refiner, (truth, _, context, embedding) = build(EXAMPLES[name], domain, False), inputs(domain, False)
    whole = refiner.loss(truth, None, context, embedding, domain, draws([0, 1]))
    alone = refiner.loss(truth[1:], None, context[1:], embedding[1:], domain, draws([1]))
    torch.testing.assert_close(alone, whole[1:], rtol=1e-10, atol=1e-11)


@EVERY
def test_single_precision_and_inference_mode(name):
    domain = DOMAINS["line"]
    refiner = build(EXAMPLES[name], domain, False).float()
    truth, _, context, embedding = (None if u is None else u.float() for u in inputs(domain, False))
    with torch.inference_mode():
        assert refiner(None, context, embedding, domain, draws([0, 1])).dtype == torch.float32
        assert refiner.loss(truth.clone(), None, context.clone(), embedding, domain, draws([0, 1])).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "limits"),
    [("MeanFlow", (0.35, 0.18)), ("SplitMeanFlow", (0.3, 0.15)), ("Shortcut", (0.25, 0.18)), ("Consistency", (0.5, 0.52))],
)
def test_two_modes_in_one_and_two_steps(name, limits, plain):
    """One Euler step of a velocity gives their mean, at a distance of about .7; no step of noise alone, about .8."""
    cls = {"MeanFlow": MeanFlow, "SplitMeanFlow": SplitMeanFlow, "Shortcut": Shortcut, "Consistency": Consistency}[name]
    refiner = trained(lambda f: cls(f, channels=1), FEATURES if cls is Consistency else 2 * FEATURES, plain, 800)
    for steps, limit in zip((1, 2), limits, strict=True):
        refiner.steps = steps
        far, up = distance(refiner, plain(-1))
        assert far < limit and abs(up - 0.75) < 0.08, (steps, far, up)


@pytest.mark.slow
def test_two_modes_by_students_of_a_flow(plain):
    teacher = trained(lambda f: FlowMatching(f, channels=1, sampler=heun, steps=12), FEATURES, plain, 800)
    assert distance(teacher, plain(-1))[0] < 0.06
    for make, iterations in (
        (lambda f: Reflow(f, channels=1, teacher=teacher, warm=True), 266),
        (lambda f: DistilledConsistency(f, channels=1, teacher=teacher, warm=True), 800),
    ):
        far, up = distance(trained(make, FEATURES, plain, iterations), plain(-1))
        assert far < 0.2 and abs(up - 0.75) < 0.08, (far, up)


@pytest.mark.slow
def test_two_modes_by_a_tail(plain):
    head = trained(lambda f: SplitMeanFlow(f, channels=1), 2 * FEATURES, plain, 800)
    tail = trained(lambda f: VelocityTail(f, channels=1, head=head, switch=0.5), FEATURES, plain, 400)
    far, up = distance(tail, plain(-1))
    assert far < 0.15 and abs(up - 0.75) < 0.08, (far, up)
    assert tail.evaluations == 3


@pytest.mark.parametrize("entry", [{"class": "mean_flow.MeanFlow", "steps": 2}, {"class": "shortcut.Shortcut", "finest": 8, "steps": 4}])
def test_a_configuration_changes_one_block(entry, plain):
    """The refiner's block decides the operator's widths; the operator's block stays."""
    entry = {**entry, "class": f"surrogates.refine.{entry['class']}"}
    refiner = part(entry, "refiner", "surrogates.refine", given=1, named=("channels",))
    operator = part({"class": "FNO", "width": 4, "modes": [3], "layers": 1}, "operator", "surrogates.operators", given=3)
    sizes = operator_sizes(refiner, C, C, EMBEDDING, False, 1)
    made = refiner(operator(*sizes), channels=C)
    _, _, context, embedding = (None if u is None else u.float() for u in inputs(DOMAINS["line"], False))
    assert made(None, context, embedding, DOMAINS["line"], plain()).shape == context.shape
    assert sizes[2] == EMBEDDING + 2 * FEATURES and made.evaluations == entry["steps"]
