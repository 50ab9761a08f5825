"""What every refiner must pass on every kind of domain, whatever else it promises; its mathematics is tested in its own file."""

from __future__ import annotations

import json

import pytest
import torch
from laws import refiner_laws
from refiners import DOMAINS, EXAMPLES

from surrogates.noise import AtStep, SeededNoise
from surrogates.record import construct, describe

CASES = [(name, guess) for name, e in EXAMPLES.items() for guess in (False, True) if e.guess in (None, guess)]
EVERY = pytest.mark.parametrize(("name", "guess"), CASES, ids=[f"{n}, {'with' if g else 'without'} a guess" for n, g in CASES])

EVERYWHERE = [  # both with and without a guess on two domains, one of the two on the others
    pytest.param(name, guess, where, id=f"{name}, {'with' if guess else 'without'} a guess, {where}")
    for name, guess in CASES
    for where in DOMAINS
    if not guess or EXAMPLES[name].guess or where in ("plane", "mesh")
]


def draws(rows):
    return AtStep(SeededNoise(7, [10 + int(r) // 2 for r in rows], [int(r) % 2 for r in rows]), 3)


@pytest.mark.parametrize(("name", "guess", "where"), EVERYWHERE)
def test_the_laws_of_refiners(name, guess, where):
    one, domain = EXAMPLES[name], DOMAINS[where]
    truth, first, context, embedding = one.inputs(domain, guess)
    refiner_laws(one.build(domain, guess), truth, first, context, embedding, domain, draws, rounding=1e-11)


@EVERY
def test_a_refiner_writes_itself_down(name, guess):
    one, domain = EXAMPLES[name], DOMAINS["line"]
    _, first, context, embedding = one.inputs(domain, guess)
    f = one.build(domain, guess)
    again = construct(json.loads(json.dumps(describe(f)))).double()
    again.load_state_dict(f.state_dict())
    rows = torch.arange(len(context))
    with torch.no_grad():
        x, y = (g(first, context, embedding, domain, draws(rows)) for g in (f, again))
    assert torch.equal(x, y)


@EVERY
def test_the_loss_is_that_of_each_row_alone(name, guess):
    """Training randomness is keyed by row as well: a batch of one has the loss that it has among others."""
    one, domain = EXAMPLES[name], DOMAINS["plane"]
    f, (truth, first, context, embedding) = one.build(domain, guess), one.inputs(domain, guess)
    rows, last = torch.arange(len(truth)), torch.tensor([len(truth) - 1])
    with torch.no_grad():
        whole = f.loss(truth, first, context, embedding, domain, draws(rows))
        alone = f.loss(truth[last], None if first is None else first[last], context[last], embedding[last], domain, draws(last))
    torch.testing.assert_close(alone, whole[last], rtol=1e-11, atol=1e-11)


@EVERY
def test_another_draw_is_another_sample(name, guess):
    one, domain = EXAMPLES[name], DOMAINS["line"]
    f, (_, first, context, embedding) = one.build(domain, guess), one.inputs(domain, guess)
    rows = torch.arange(len(context))
    with torch.no_grad():
        x, y = (f(first, context, embedding, domain, draws(rows + shift)) for shift in (0, 100))
    assert ((x - y).flatten(1).abs().amax(1) > 1e-6).all()
