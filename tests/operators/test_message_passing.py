"""The message-passing solver: its layers as loops, its decoder as convolutions, bundles, symmetries, batches, conditioning, bad input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from surrogates.contracts import Operator
from surrogates.domains import Box
from surrogates.domains.mesh import Mesh
from surrogates.operators.bundle_decoder import BundleDecoder
from surrogates.operators.member_norm import shares
from surrogates.operators.mesh_inputs import View, inputs
from surrogates.operators.message_passing import MPPDE

DOUBLE = {"rtol": 1e-9, "atol": 1e-11}


def cloud(count: int = 17, seed: int = 0, dim: int = 2, **options) -> Mesh:
    g = torch.Generator().manual_seed(seed)
    points, measure = (torch.rand(count, n, generator=g, dtype=torch.float64) for n in (dim, 1))
    return Mesh.from_nearest(points, 3, 0.1 + measure[:, 0], **options)


def small(cin: int = 2, cout: int = 2, embedding: int = 0, **options) -> MPPDE:
    torch.manual_seed(0)
    return MPPDE(cin, cout, embedding, **{"width": 14, "layers": 2} | options).double()


def state(mesh: Mesh, rows: int = 2, channels: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(rows, channels, *mesh.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def awake(f: MPPDE) -> MPPDE:
    """With an embedding that matters."""
    for p in (f.theta.weight, f.film.out.weight, f.film.out.bias):
        nn.init.normal_(p, std=0.3)
    return f


def loops(f: MPPDE, x: Tensor, mesh: Mesh, length: float, theta: Tensor) -> Tensor:
    """The paper's formulas for one member, node by node and edge by edge: h_i, m_ij, N, and the convolutions of torch."""
    sender, receiver = mesh.edges.tolist()
    share, rows = mesh.measure / mesh.measure.sum(), []
    count = len(f.layers)
    for u, e in zip(x, theta, strict=True):
        added = f.theta(e[None])[0].view(2 * count + 1, -1)
        film = [[v[0] for v in row] for row in f.film(e[None])]
        h = [silu(f.encode_out(silu(f.encode_in(u[:, i]) + added[0]))) for i in range(x.shape[2])]
        for n, layer in enumerate(f.layers):
            first, second = layer.message_in, layer.message_out
            new = []
            for i in range(x.shape[2]):
                messages = []
                for j in (s for s, r in zip(sender, receiver, strict=True) if r == i):
                    d = mesh.points[i] - mesh.points[j]
                    known = torch.cat([d, d.norm()[None]]) / length
                    z = first(torch.cat([h[i], h[j], u[:, i] - u[:, j], known])) + added[2 * n + 1]
                    messages.append(silu(second(silu(z))))
                m = sum(messages) / len(messages)
                z = layer.update_in(torch.cat([h[i], m])) + added[2 * n + 2]
                new.append(h[i] + film[n][2] * silu(layer.update_out(silu(z))))
            stacked = torch.stack(new)
            mean = (share[:, None] * stacked).sum(0)
            variance = (share[:, None] * (stacked - mean) ** 2).sum(0)
            h = list(film[n][0] * (stacked - mean) / (variance + 1e-5).sqrt() + film[n][1])
        d = f.decode.second(silu(f.decode.first(torch.stack(h)[:, None])))  # node, channel, frame
        rows.append(d.permute(2, 1, 0).flatten(0, 1))
    return torch.stack(rows)


def test_its_formulas_as_loops() -> None:
    mesh = cloud(9)
    f = awake(small(2, 6, 3, frames=3, positions=0, length=0.2))
    x, e = state(mesh), torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(f(x, mesh, e), loops(f, x, mesh, 0.2, e), **DOUBLE)


def test_lengths_are_relative_to_the_members_own_edges_unless_said() -> None:
    mesh, x = cloud(), state(cloud())
    larger = Mesh(3 * mesh.points, mesh.edges, 9 * mesh.measure)
    torch.testing.assert_close(small()(x, larger), small()(x, mesh), **DOUBLE)
    rms = float(mesh.relative.square().sum(1).mean().sqrt())
    torch.testing.assert_close(small(length=rms)(x, mesh), small()(x, mesh), **DOUBLE)
    assert (small(length=rms)(x, larger) - small()(x, mesh)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("width", "frames", "channels"), [(128, 25, 1), (128, 20, 2), (128, 50, 1), (128, 1, 3), (28, 1, 1), (15, 5, 2), (14, 4, 1)]
)
def test_the_decoder_is_two_convolutions(width: int, frames: int, channels: int) -> None:
    torch.manual_seed(0)
    decode = BundleDecoder(width, frames * channels, frames).double()
    h = torch.randn(5, 2, width, dtype=torch.float64)
    expected = torch.stack([decode.second(silu(decode.first(h[:, b, None]))) for b in range(2)], 1)  # node, B, channel, frame
    assert expected.shape == (5, 2, channels, frames)
    torch.testing.assert_close(decode(h).view(5, 2, frames, channels), expected.mT, **DOUBLE)


@pytest.mark.parametrize(("frames", "first", "second"), [(25, (16, 3), 14), (20, (16, 4), 10), (50, (16, 2), 8)])
def test_the_published_bundles(frames: int, first: tuple[int, int], second: int) -> None:
    decode = BundleDecoder(128, frames, frames)
    assert (decode.first.kernel_size[0], decode.first.stride[0]) == first and decode.second.kernel_size == (second,)


def test_it_is_an_operator_and_counts_its_parameters() -> None:
    f = MPPDE(3, 10, 5, dim=2, width=20, layers=4, frames=5, positions=(1, 2), boundaries=("wall",))
    assert isinstance(f, Operator) and f.frames == 5
    c, w, layers = 3, 20, 4
    message = (2 * w + c + 3) * w + w + w * w + w
    update = 2 * w * w + w + w * w + w
    encode = (c + 6 + 1) * w + w + w * w + w
    decode = 8 * 9 + 8 + 8 * 2 * 8 + 2
    film = 5 * 2 * w + 2 * w + (2 * w + 1) * 3 * layers * w
    assert f.decode.places == 12
    assert sum(p.numel() for p in f.parameters()) == encode + layers * (message + update) + decode + 5 * (2 * layers + 1) * w + film


def test_frames_come_before_channels_and_the_time_factor_grows_with_the_frame() -> None:
    mesh, x = cloud(), state(cloud())
    f, ramp = small(2, 6, frames=3), small(2, 6, frames=3, time_factor=True)
    y = f(x, mesh).view(2, 3, 2, -1)
    torch.testing.assert_close(ramp(x, mesh).view(2, 3, 2, -1), y * torch.tensor([1 / 3, 2 / 3, 1], dtype=torch.float64)[:, None, None])
    with torch.no_grad():
        f.decode.second.bias[1] += 10  # of channel 1, in every frame
    torch.testing.assert_close(f(x, mesh).view(2, 3, 2, -1) - y, torch.tensor([0.0, 10.0]).double()[:, None].expand_as(y))


def renumbered(mesh: Mesh, order: Tensor) -> Mesh:
    return Mesh(mesh.points[order], order.argsort()[mesh.edges], mesh.measure[order], None, mesh.markers[order], mesh.names)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_it_commutes_with_a_renumbering_of_the_nodes(dim: int) -> None:
    mesh = cloud(dim=dim, boundary={"wall": [0, 3]})
    f, x, order = small(dim=dim, boundaries=("wall",)), state(mesh), torch.randperm(17)
    torch.testing.assert_close(f(x[..., order], renumbered(mesh, order)), f(x, mesh)[..., order], **DOUBLE)


def test_it_commutes_with_translations_unless_it_sees_positions() -> None:
    shift = torch.tensor([0.3, -0.2], dtype=torch.float64)
    for positions, same in ((0, True), (1, False)):
        f, mesh = small(positions=positions), cloud(periods=(1.0, 1.0))
        moved = Mesh((mesh.points + shift) % 1.0, mesh.edges, mesh.measure, periods=mesh.periods)
        x = state(mesh)
        assert torch.allclose(f(x, moved), f(x, mesh), **DOUBLE) == same


def test_a_batch_of_different_meshes_is_each_alone() -> None:
    meshes = [cloud(9, 3), cloud(14, 4), cloud(11, 5)]
    f = awake(small(embedding=3))
    xs, e = [state(m, rows=2, seed=i) for i, m in enumerate(meshes)], torch.randn(2, 3, 3, dtype=torch.float64)
    together = f(torch.cat(xs, 2), Mesh.batch(meshes), e.flatten(0, 1))
    alone = [f(x, m, e[:, i]) for i, (x, m) in enumerate(zip(xs, meshes, strict=True))]
    torch.testing.assert_close(together, torch.cat(alone, 2), **DOUBLE)


def test_whole_images_of_float32_change_nothing() -> None:
    """Meshes large enough that the counts of nodes and edges are filled up."""
    mesh = cloud(400)
    f, x = small(embedding=2), state(mesh, rows=8)
    awake(f)
    e = torch.randn(8, 2, dtype=torch.float64)
    exact, g = f(x, mesh, e), f.float()
    assert inputs(mesh, View(), 8, torch.float32, x.device).nodes > 400
    torch.testing.assert_close(g(x.float(), mesh, e.float()).double(), exact, rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        half = g(x.float(), mesh, e.float())
    torch.testing.assert_close(half.double(), exact, rtol=0.2, atol=0.1)


def test_features_are_normalised_under_the_measure_of_each_member() -> None:
    mesh = Mesh.batch([cloud(9, 3), cloud(14, 4)])
    seen = inputs(mesh, View(), 2, torch.float64, mesh.points.device)
    h = shares(mesh, seen, torch.float64, mesh.points.device).normalise(3 + 2 * torch.randn(23, 2, 5, dtype=torch.float64))
    u = h.permute(1, 2, 0)
    assert mesh.average(u).abs().max() < 1e-12
    torch.testing.assert_close(mesh.average(u**2), torch.ones(4, 5, dtype=torch.float64), rtol=1e-3, atol=0)


@pytest.mark.parametrize("parts", [1, 2])
def test_gradients_are_those_of_finite_differences(parts: int) -> None:
    mesh = Mesh.batch([cloud(5, i) for i in range(parts)])
    f = awake(small(1, 2, 2, frames=2, width=12, layers=1))
    x = state(mesh, 2, 1).requires_grad_()
    e = torch.randn(2 * parts, 2, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*f.named_parameters(), strict=True)

    def apply(x: Tensor, e: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(f, dict(zip(names, weights, strict=True)), (x, mesh, e))

    assert torch.autograd.gradcheck(apply, (x, e, *weights), fast_mode=True)


def test_forward_mode_agrees_with_finite_differences() -> None:
    mesh = Mesh.batch([cloud(9, 3), cloud(8, 4)])
    f, x, t = small(), state(mesh), state(mesh, seed=2)
    _, derivative = torch.func.jvp(lambda x: f(x, mesh), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, mesh) - f(x - 1e-6 * t, mesh)) / 2e-6, rtol=1e-5, atol=1e-7)


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    f, plain, mesh = small(embedding=3), small(), cloud()
    plain.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith(("film", "theta"))})
    x, e = state(mesh), torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(f(x, mesh, e), plain(x, mesh), **DOUBLE)
    f(x, mesh, e).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in (f.theta.weight, f.film.out.weight, f.film.out.bias))
    torch.testing.assert_close(plain(x, mesh, torch.zeros(2, 0, dtype=torch.float64)), plain(x, mesh))


def test_parts_that_no_edge_joins_and_nodes_without_neighbours() -> None:
    pair = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
    mesh = Mesh(torch.rand(5, 2, dtype=torch.float64), pair, torch.ones(5))
    f, x = small(), state(mesh)
    y = f(x, mesh)
    assert y.isfinite().all()
    lonely = Mesh(torch.rand(4, 2, dtype=torch.float64), torch.zeros(2, 0, dtype=torch.long), torch.ones(4))
    x = state(lonely).requires_grad_()
    f(x, lonely).sum().backward()
    assert x.grad.isfinite().all()


MESH = cloud()


@pytest.mark.parametrize(
    ("f", "arguments", "error", "message"),
    [
        (small(), (state(MESH), Box.periodic((17,), 1.0)), TypeError, "works on a Mesh, got a Box"),
        (small(dim=3), (state(MESH), MESH), ValueError, "built with dim=3 but the mesh has points in 2 dimensions"),
        (small(), (state(MESH)[:, :1], MESH), ValueError, "x has 1 channels but this MPPDE was built with in_channels=2"),
        (small(), (state(MESH)[..., 1:], MESH), ValueError, "this Mesh takes"),
        (small(embedding=3), (state(MESH), MESH), ValueError, r"embedding of shape \(2, 3\).* got none"),
        (
            small(),
            (torch.ones(1, 2, 1).double(), Mesh(torch.rand(1, 2), torch.zeros(2, 0).long(), torch.ones(1))),
            ValueError,
            "a single node",
        ),
        (small(boundaries=("wall",)), (state(MESH), cloud(boundary={"inlet": [0]})), ValueError, "has a boundary 'inlet'"),
    ],
)
def test_what_does_not_fit_is_named(f: MPPDE, arguments: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        f(*arguments)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"frames": 0}, "frames must be at least 1"),
        ({"frames": 3}, "out_channels=2 is no multiple of frames=3; it must be"),
        ({"cout": 0}, "out_channels=0 is no multiple"),
        ({"cout": 6, "frames": 6}, "width=14 is too little for 6 frames; build it with width=16 or more"),
        ({"positions": (1,)}, "positions must be"),
        ({"length": 0.0}, "length must be positive"),
    ],
)
def test_impossible_numbers_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**wrong)
    assert BundleDecoder(16, 6, 6).second.kernel_size == (8,)
