"""What all convolutional networks obey: translations, tilings, mirrors, every size, derivatives, conditioning, clear errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surrogates.contracts import Operator
from surrogates.domains import Box
from surrogates.operators.classic_unet import ClassicUNet
from surrogates.operators.convnet import ConvNet
from surrogates.operators.convolution import Convolution, Up
from surrogates.operators.dilated_resnet import DilatedResNet
from surrogates.operators.resnet import ResNet
from surrogates.operators.sinenet import SineNet
from surrogates.operators.unet import UNet

SMALL: dict[type[nn.Module], dict[str, Any]] = {
    ConvNet: {"width": 3, "layers": 2, "activation": "silu"},
    ResNet: {"width": 3, "blocks": 2, "activation": "silu"},
    DilatedResNet: {"width": 3, "blocks": 1, "dilations": (1, 8, 2)},
    ClassicUNet: {"width": 2, "levels": 2, "activation": "silu"},
    UNet: {"width": 2, "multipliers": (1, 2, 2), "blocks": 1, "heads": 2},
    SineNet: {"width": 3, "waves": 2, "levels": 2, "growth": 1.3},
}
HALVED = (ClassicUNet, UNet, SineNet)
every = pytest.mark.parametrize("kind", list(SMALL), ids=lambda kind: kind.__name__)


def small(kind: type[nn.Module], embedding: int = 0, cin: int = 2, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return kind(cin, 1, embedding, **SMALL[kind] | options).double()


def box(*shape: int, boundary: str = "periodic") -> Box:
    return Box(shape, (0.0,) * len(shape), (1.0,) * len(shape), (boundary,) * len(shape))


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def awake(f: nn.Module) -> nn.Module:
    """With an embedding that matters."""
    nn.init.normal_(f.film.out.weight)
    return f


@every
@pytest.mark.parametrize("shape", [(16,), (8, 12), (8, 4, 4)])
def test_it_commutes_with_translations(kind, shape) -> None:
    """By the total stride, 4 points, where grids are halved; by one point everywhere else, and there by none between."""
    f, x, dims = small(kind, dim=len(shape)), draw(2, 2, *shape), tuple(range(2, 2 + len(shape)))
    assert isinstance(f, Operator)
    step = 4 if kind in HALVED else 1
    shifts = tuple(step * (axis + 1) for axis in range(len(shape)))
    torch.testing.assert_close(f(x.roll(shifts, dims), box(*shape)), f(x, box(*shape)).roll(shifts, dims))
    if kind in HALVED:
        assert (f(x.roll(1, 2), box(*shape)) - f(x, box(*shape)).roll(1, 2)).abs().max() > 1e-6


@every
def test_positions_along_one_axis_keep_translations_along_the_other(kind) -> None:
    f, x, b = small(kind, positions=(0, 2)), draw(2, 2, 8, 8), box(8, 8)
    torch.testing.assert_close(f(x.roll(4, 2), b), f(x, b).roll(4, 2))
    assert (f(x.roll(4, 3), b) - f(x, b).roll(4, 3)).abs().max() > 1e-5


@every
@pytest.mark.parametrize("shape", [(4,), (4, 8), (4, 4, 4)])
def test_a_repeated_field_has_the_repeated_answer(kind, shape) -> None:
    """Also where stencils reach around the box more than once: one point wide, or prime, where no grid is halved."""
    if kind not in HALVED:
        shape = {1: (5,), 2: (1, 3), 3: (1, 2, 3)}[len(shape)]
    f, x, many = small(kind, dim=len(shape)), draw(2, 2, *shape), (1, 1, 3, *(2,) * (len(shape) - 1))
    wide = tuple(n * m for n, m in zip(shape, many[2:], strict=True))
    torch.testing.assert_close(f(x.repeat(many), box(*wide)), f(x, box(*shape)).repeat(many))


def mirrored(f: nn.Module) -> nn.Module:
    """With stencils that are their own mirror images along the last axis."""
    for module in f.modules():
        if isinstance(module, Convolution | Up):
            module.weight.data = module.weight.data + module.weight.data.flip(-1)
    return f


@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind is not ClassicUNet], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_reflecting_wall_is_a_mirror(kind, dim) -> None:
    """Symmetric stencils between walls see a periodic box of twice the length, half of it the mirror image.

    Not so a classic U-Net: its stencils of stride 2 have three points, around every second one, and so lean to one side.
    """
    f, shape = mirrored(small(kind, dim=dim, walls="reflect")), (4,) * (dim - 1) + (8,)
    x, ends = draw(2, 2, *shape), (0.0,) * dim
    between = Box(shape, ends, (1.0,) * dim, ("periodic",) * (dim - 1) + ("wall",))
    around = Box.periodic((*shape[:-1], 16), 1.0)
    doubled = f(torch.cat([x, x.flip(-1)], -1), around)
    torch.testing.assert_close(f(x, between), doubled[..., :8])
    torch.testing.assert_close(doubled, doubled.flip(-1))


@every
@pytest.mark.parametrize("walls", ["zeros", "reflect"])
@pytest.mark.parametrize("shape", [(1,), (13,), (7, 5), (1, 9), (5, 3, 1)])
def test_between_walls_every_size_works_and_every_point_is_seen(kind, walls, shape) -> None:
    f, b = small(kind, dim=len(shape), walls=walls), box(*shape, boundary="wall")
    x = draw(2, 2, *shape).requires_grad_()
    y = f(x, b)
    assert y.shape == (2, 1, *shape) and y.is_contiguous()
    (g,) = torch.autograd.grad((y * draw(*y.shape)).sum(), x)
    assert g.abs().amin() > 0


@every
@pytest.mark.parametrize("shape", [(8,), (4, 4), (4, 4, 4)])
def test_gradients_are_those_of_finite_differences(kind, shape) -> None:
    f, x, e = awake(small(kind, 2, 1, dim=len(shape), walls="reflect")), draw(1, 1, *shape), draw(1, 2)
    name, weight = next((n, p) for n, p in f.named_parameters() if n.endswith("second.weight") or n == "out.weight" or "layers.0.w" in n)
    b = Box(shape, (0.0,) * len(shape), (1.0,) * len(shape), ("periodic",) * (len(shape) - 1) + ("wall",))
    call = lambda x, e, w: torch.func.functional_call(f, {name: w}, (x, b, e))  # noqa: E731
    assert torch.autograd.gradcheck(call, (x.requires_grad_(), e.requires_grad_(), weight), fast_mode=True)


@every
@pytest.mark.parametrize("shape", [(8,), (8, 4), (4, 4, 4)])
def test_forward_mode_agrees_with_finite_differences(kind, shape) -> None:
    """Few-step refiners differentiate along the flow by a Jacobian-vector product."""
    f, b, x, t = small(kind, dim=len(shape)), box(*shape), draw(2, 2, *shape), draw(2, 2, *shape)
    value, derivative = torch.func.jvp(lambda x: f(x, b), (x,), (t,))
    torch.testing.assert_close(value, f(x, b))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, b) - f(x - 1e-6 * t, b)) / 2e-6, rtol=1e-5, atol=1e-8)
    f = f.float()
    _, single = torch.func.jvp(lambda x: f(x, b), (x.float(),), (t.float(),))
    torch.testing.assert_close(single.double(), derivative, rtol=1e-3, atol=1e-4)


@every
def test_an_embedding_starts_without_effect_and_gains_one(kind) -> None:
    f, plain, b, x, e = small(kind, 3), small(kind), box(8, 8), draw(2, 2, 8, 8), draw(2, 3)
    plain.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith("film")})
    torch.testing.assert_close(f(x, b, e), plain(x, b))
    f(x, b, e).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in f.film.out.parameters())
    rows = [awake(f)(x[i : i + 1], b, e[i : i + 1]) for i in range(2)]
    assert (rows[0] - plain(x, b)[:1]).abs().max() > 1e-3
    torch.manual_seed(0)
    nn.init.normal_(f.film.out.weight)
    rows = [f(x[i : i + 1], b, e[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(f(x, b, e), torch.cat(rows))


@every
def test_half_precision_stays_near_single(kind) -> None:
    f, b, x = small(kind).float(), box(8, 8), torch.randn(2, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y = f(x, b)
    y.float().square().sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in f.parameters())
    torch.testing.assert_close(y.float(), f(x, b), rtol=0.1, atol=0.05)


@pytest.mark.parametrize("kind", HALVED, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("shape", [(7, 8), (8, 10), (8, 1)])
def test_a_periodic_axis_that_cannot_be_halved_is_refused(kind, shape) -> None:
    with pytest.raises(ValueError, match=rf"this {kind.__name__} halves it 2 times.*multiples of 4.*resample"):
        small(kind)(draw(2, 2, *shape), box(*shape))


STRETCHED = Box((8, 2), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"), (None, (0.0, 0.2, 1.0)))


@every
@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (lambda kind: small(kind), (draw(2, 1, 8, 8), box(8, 8)), "x has 1 channels but this .* in_channels=2"),
        (lambda kind: small(kind), (draw(2, 2, 8), box(8)), r"is for 2 dimensions but the box \(8,\) has 1"),
        (lambda kind: small(kind), (draw(2, 2, 8, 2), STRETCHED), "is stretched"),
        (lambda kind: small(kind, 3), (draw(2, 2, 8, 8), box(8, 8)), r"embedding of shape \(2, 3\).* got none"),
    ],
)
def test_what_does_not_fit_is_named(kind, build: Callable, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(kind)(*arguments)


@every
@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"dim": 0}, {"dim": 4}, {"positions": -1}, {"positions": (1,)}, {"walls": "open"}, {"activation": "swish"}]
)
def test_impossible_numbers_are_refused(kind, wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(kind, **wrong)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (ConvNet, {"layers": 0}),
        (ConvNet, {"kernel": 2}),
        (ResNet, {"blocks": 0}),
        (ResNet, {"kernel": 4}),
        (DilatedResNet, {"dilations": ()}),
        (DilatedResNet, {"dilations": (1, 0)}),
        (ClassicUNet, {"levels": 0}),
        (UNet, {"multipliers": ()}),
        (UNet, {"multipliers": (1, 0)}),
        (UNet, {"heads": 3}),
        (UNet, {"heads": -1}),
        (UNet, {"blocks": 0}),
        (SineNet, {"waves": 0}),
        (SineNet, {"levels": 0}),
        (SineNet, {"growth": 0.1}),
    ],
)
def test_impossible_numbers_of_one_network_are_refused(kind, wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        small(kind, **wrong)


@pytest.mark.parametrize("kind", [UNet, SineNet], ids=lambda kind: kind.__name__)
def test_computing_blocks_again_changes_nothing(kind) -> None:
    f, again, b, x, e = awake(small(kind, 2)), awake(small(kind, 2, checkpoint=True)), box(8, 8), draw(2, 2, 8, 8), draw(2, 2)
    again.load_state_dict(f.state_dict())
    for network in (f, again):
        network(x, b, e).square().sum().backward()
    for p, q in zip(f.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    with torch.no_grad():
        torch.testing.assert_close(again(x, b, e), f(x, b, e))
