"""What every network must pass, whatever else it promises; its own mathematics is tested in its own file, examples are in `networks.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from laws import operator_laws
from networks import CIN, COUT, EMBEDDING, EXAMPLES, Example

from surrogates import operators
from surrogates.contracts import Conditions, Operator
from surrogates.fields import Field, Fields
from surrogates.record import construct, describe
from surrogates.refine import FEATURES, FlowMatching, euler
from surrogates.surrogate import Surrogate
from surrogates.train.part import part

NAMES = pytest.mark.parametrize("name", EXAMPLES)


def example(name: str) -> Example:
    one = EXAMPLES[name]
    if one.needs:
        pytest.importorskip(one.needs, reason="the package that this adapts")
    return one


def test_no_network_is_left_out() -> None:
    assert {e.name for e in EXAMPLES.values()} == set(operators.__all__)


@NAMES
@pytest.mark.parametrize("embedding", [0, EMBEDDING])
def test_the_laws_of_operators(name: str, embedding: int) -> None:
    """Shape, type, rows that do not see each other, inputs left as they are; in float64 where it has float64."""
    one = example(name)
    f = one.build(embedding)
    assert isinstance(f, Operator)
    with torch.no_grad():
        operator_laws(f, *one.inputs(embedding), rounding=1e-11 if one.dtype == torch.float64 else 2e-5)


@NAMES
def test_float32_is_float64_rounded(name: str) -> None:
    one = example(name)
    if one.dtype == torch.float32:
        pytest.skip("this peer has float32 only")
    with torch.no_grad():
        y, single = (one.build(EMBEDDING, d)(*one.inputs(EMBEDDING, dtype=d)) for d in (torch.float64, torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), y, rtol=1e-3, atol=1e-4 * float(y.abs().max()))


@NAMES
def test_the_embedding_acts_on_its_own_row(name: str) -> None:
    one = example(name)
    f, (x, domain, e) = one.build(EMBEDDING), one.inputs(EMBEDDING)
    changed = e.clone()
    changed[1] += 1
    with torch.no_grad():
        difference = (f(x, domain, changed) - f(x, domain, e)).flatten(1).abs().amax(1)
    assert difference[1] > 1e-4 and difference[0] < 1e-5 and difference[2] < 1e-5


@NAMES
def test_it_is_described_built_and_stored(name: str, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="how weights are stored")
    one = example(name)
    f, arguments = one.build(EMBEDDING), one.inputs(EMBEDDING)
    safetensors.save_file({k: v.contiguous() for k, v in f.state_dict().items()}, tmp_path / "weights.safetensors")
    again = construct(json.loads(json.dumps(describe(f)))).eval()
    if one.dtype == torch.float64:
        again = again.double()
    again.load_state_dict(safetensors.load_file(tmp_path / "weights.safetensors"), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(again(*arguments), f(*arguments), rtol=0, atol=0)


@NAMES
def test_a_configuration_builds_it(name: str) -> None:
    one = example(name)
    entry = {"class": one.name, **json.loads(json.dumps(dict(one.hyperparameters)))}
    torch.manual_seed(0)
    built = part(entry, "operator", "surrogates.operators", given=3)(CIN, COUT, 0)
    torch.manual_seed(0)
    same = getattr(operators, one.name)(CIN, COUT, 0, **one.hyperparameters)
    assert describe(built) == describe(same)
    for a, b in zip(built.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="operator.widht: .* has no such hyperparameter"):
        part({**entry, "widht": 3}, "operator", "surrogates.operators", given=3)


@NAMES
def test_every_parameter_learns(name: str) -> None:
    """A parameter without a gradient is dead weight, and breaks distributed training."""
    one = example(name)
    f = one.build(EMBEDDING).train()
    f(*one.inputs(EMBEDDING)).square().sum().backward()
    dead = [n for n, p in f.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not dead, dead


@NAMES
def test_forward_derivatives_are_those_of_finite_differences(name: str) -> None:
    """Few-step refiners differentiate along the flow by a Jacobian-vector product."""
    one = example(name)
    if one.dtype == torch.float32:
        pytest.skip("finite differences ask for float64, which this peer does not have")
    f, (x, domain, e) = one.build(EMBEDDING), one.inputs(EMBEDDING, rows=2)
    t = torch.randn_like(x)
    _, derivative = torch.func.jvp(lambda x: f(x, domain, e), (x,), (t,))
    with torch.no_grad():
        expected = (f(x + 1e-6 * t, domain, e) - f(x - 1e-6 * t, domain, e)) / 2e-6
    torch.testing.assert_close(derivative, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


@NAMES
def test_it_serves_as_guess_and_as_refiner(name: str) -> None:
    """The same class in both places of a surrogate, on its domain; one training step of each lowers nothing to NaN."""
    one = example(name)
    frames = one.hyperparameters.get("frames", 1)
    fields, rows = Fields.of(Field("u", components=("x", "y"))), 2
    make = getattr(operators, one.name)
    torch.manual_seed(0)
    c = 2 * frames
    guess = make(2, c, 0, **one.hyperparameters)
    network = make(2 + c + c, c, FEATURES, **one.hyperparameters)
    refiner = FlowMatching(network, channels=c, sampler=euler, steps=2)
    surrogate = Surrogate(fields, one.domain, 0.1, operator=guess, refiner=refiner, bundle=frames)
    time = torch.zeros(rows, dtype=torch.float64)
    conditions = Conditions(one.domain, time, time + 0.1, time[:, None][:, :0])
    past, future = torch.randn(rows, 1, 2, *one.domain.shape), torch.randn(rows, frames, 2, *one.domain.shape)
    loss = surrogate.loss(past, future, conditions, lambda like, draw: torch.randn_like(like)).mean()
    loss.backward()
    assert torch.isfinite(loss) and all(p.grad is not None for p in network.parameters())
    with torch.no_grad():
        u, _ = surrogate.eval()(surrogate.begin(past, conditions), conditions, lambda like, step, draw: torch.randn_like(like))
    assert u.shape == future.shape and bool(torch.isfinite(u).all())


@NAMES
def test_wrong_channels_and_embeddings_are_named(name: str) -> None:
    one = example(name)
    f, (x, domain, e) = one.build(EMBEDDING), one.inputs(EMBEDDING)
    with pytest.raises(ValueError, match="x has 1 channels but this .* was built with in_channels=2"):
        f(x[:, :1], domain, e)
    with pytest.raises(ValueError, match=r"embedding of shape \(3, 3\).* got none"):
        f(x, domain, None)
    with pytest.raises(ValueError, match=r"got one of shape \(2, 3\)"):
        f(x, domain, e[:2])
    with pytest.raises(ValueError, match="x has shape .* but this"):
        f(x[..., :-1], domain, e)


COMPILED = """
import sys
import torch
from networks import EXAMPLES

for name in sys.argv[1:]:
    one = EXAMPLES[name]
    f, (x, domain, e) = one.build(3), one.inputs(3)
    torch.compiler.reset()
    y = torch.compile(f, fullgraph=True, backend="aot_eager")(x, domain, e)
    y.sum().backward()
    torch.testing.assert_close(y, f(x, domain, e), rtol=1e-5, atol=1e-6)
    print("compiled", name)
"""


@pytest.mark.slow
def test_they_compile_whole() -> None:
    """In a process of its own: the annotations checked in tests are no part of a graph. Peers' code is their own affair."""
    ours = [name for name, one in EXAMPLES.items() if not one.needs]
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", COMPILED, *ours], cwd=root / "tests", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
