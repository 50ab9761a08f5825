"""Latent operator: the formula point by point, any query, its reduction to a DeepONet, local windows, refinement, clear errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from surrogates.domains import Box
from surrogates.domains.mesh import Mesh
from surrogates.operators import latent_operator
from surrogates.operators.latent_operator import LatentOperator, spread
from surrogates.operators.points import points_of


def small(cin: int = 2, cout: int = 1, embedding: int = 0, **options) -> LatentOperator:
    torch.manual_seed(0)
    numbers = {"width": 8, "heads": 2, "latents": 5, "layers": 2, "harmonics": 2, "basis": 3}
    f = LatentOperator(cin, cout, embedding, **numbers | options).double()
    nn.init.normal_(f.key.weight, std=0.3)
    return f


def cloud(nodes: int, seed: int = 0, **options) -> Mesh:
    torch.manual_seed(seed)
    return Mesh.from_nearest(torch.rand(nodes, 2), 3, torch.rand(nodes) + 0.1, **options)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def by_loops(f: LatentOperator, u: Tensor, gamma: Tensor, m: Tensor) -> Tensor:
    """Encoder and decoder of one row (node, C), without blocks: a head, a latent, a point at a time."""
    size, n = f.token.shape[1] // f.encoder.heads, range(len(u))
    v = (f.lift_out(gelu(f.lift_in(u)))) * f.test_out(gelu(f.test_in(gamma)))
    z = []
    for latent in range(len(f.token)):
        heads = []
        for head in range(f.encoder.heads):
            logits = torch.stack([f.encoder.anchor[head, latent] @ (f.encoder.matrix[head] @ gamma[i]) for i in n])
            a = m * logits.exp() / (m * logits.exp()).sum()
            heads.append(sum(a[i] * v[i, head * size : (head + 1) * size] for i in n))
        z.append(f.token[latent] + f.gather(torch.cat(heads)))
    z, y = torch.stack(z), []
    keys, values = z @ f.key.weight.T, f.value(z)
    trunk = f.trunk_out(gelu(f.trunk_in(gamma)))
    for i in n:
        heads = []
        for head in range(f.decoder.heads):
            part = slice(head * size, (head + 1) * size)
            logits = torch.stack([(f.decoder.matrix[head] @ gamma[i]) @ (f.decoder.anchor[head, k] + keys[k, part]) for k in range(len(z))])
            heads.append(torch.softmax(logits, 0) @ values[:, part])
        branch = f.branch(torch.cat(heads)).view(-1, f.basis)
        y.append(branch @ trunk[i] + f.bias)
    return torch.stack(y, 1)


def test_encoder_and_decoder_are_the_formula() -> None:
    f, mesh, x = small(2, 3), cloud(7), randn(2, 2, 7)
    f.blocks = nn.ModuleList()
    gamma = points_of(mesh, (2, 2), torch.float64, x.device).seen[0]
    expected = torch.stack([by_loops(f, row.T, gamma, mesh.measure) for row in x])
    torch.testing.assert_close(f(x, mesh), expected)


@pytest.mark.parametrize("domain", [Box((4, 3), (1.0, 0.0), (3.0, 1.0), ("periodic", "wall")), cloud(9), cloud(9, periods=(1.0, None))])
def test_asked_at_its_own_points_it_gives_the_same(domain: Box | Mesh) -> None:
    f, x = small(), randn(2, 2, *domain.shape)
    points = domain.points if isinstance(domain, Mesh) else torch.stack(domain.grid(), -1).reshape(-1, 2)
    torch.testing.assert_close(f(x, domain, queries=points), f(x, domain).flatten(2))


def test_any_point_can_be_asked_and_depends_on_no_other() -> None:
    f, box, x = small(periodic=True), Box.periodic((4, 5), (1.0, 2.0)), randn(2, 2, 4, 5)
    q = torch.rand(6, 2, dtype=torch.float64)
    y = f(x, box, queries=q)
    assert y.shape == (2, 1, 6)
    torch.testing.assert_close(f(x, box, queries=q[2:3]), y[..., 2:3])
    torch.testing.assert_close(f(x, box, queries=q + torch.tensor([1.0, -4.0])), y)  # a period further
    q.requires_grad_()
    assert torch.autograd.gradcheck(lambda q: f(x, box, queries=q), q, fast_mode=True)  # derivatives in space


def test_with_one_latent_it_is_a_deeponet() -> None:
    """Then all outputs lie in the span of `basis` functions of the position and a constant."""
    mesh, x = cloud(30), randn(25, 2, 30)
    ranks = {}
    for latents in (1, 5):
        f = small(latents=latents)
        ranks[latents] = int(torch.linalg.matrix_rank((f(x, mesh)[:, 0] - f.bias).detach(), rtol=1e-9))
    assert ranks[1] <= 3 < ranks[5]


def test_latents_start_where_they_look() -> None:
    """The weights of the first head are largest at the point next to the anchor, and each further head looks wider."""
    f, box = small(latents=6, width=16, dim=2, periodic=(True, False)), Box((24, 12), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))
    seen = points_of(box, (2, 2), torch.float64, torch.device("cpu")).seen
    with torch.no_grad():
        f.encoder.matrix[:, 4:] = 0
        w = (f.encoder.anchor @ f.encoder.look(seen).mT)[0].softmax(-1)
    x, anchors = torch.stack(box.grid(), -1).reshape(-1, 2), spread(6, 2).double()
    away = (x[:, None] - anchors).abs()
    away[..., 0] = torch.minimum(away[..., 0], 1 - away[..., 0])
    distance = (away * torch.tensor([2.0, 1.0])).norm(dim=-1)  # turns: a period counts 2 pi, an extent pi
    chosen = w[0].argmax(-1)
    assert all(distance[chosen[k], k] < distance[:, k].min() + 0.06 for k in range(6))
    spreads = w.square().sum(-1).reciprocal().mean(-1)  # how many points share a latent
    assert spreads[1] > 1.5 * spreads[0]


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_anchors_fill_the_cube_evenly(dim: int) -> None:
    """Every half and quarter of every axis holds its share, to one or two."""
    p = spread(64, dim)
    assert p.shape == (64, dim) and p.min() >= 0 and p.max() < 1
    for axis in range(dim):
        counts = torch.histc(p[:, axis], 4, 0, 1)
        assert (counts - 16).abs().max() <= 2
    if dim > 1:
        gaps = torch.cdist(p, p) + torch.eye(64) * 9
        assert gaps.min() > 0.3 * 64 ** (-1 / dim)


def test_the_order_of_nodes_is_nothing() -> None:
    f, mesh, x, order = small(), cloud(9), randn(2, 2, 9), torch.randperm(9)
    turned = Mesh.from_nearest(mesh.points[order], 3, mesh.measure[order])
    torch.testing.assert_close(f(x[..., order], turned), f(x, mesh)[..., order])


@pytest.mark.parametrize("sizes", [(5, 9, 1), (6, 6, 6)])
def test_meshes_in_one_batch_do_not_see_each_other(sizes: tuple[int, ...]) -> None:
    f, parts = small(embedding=3), [cloud(n, seed) for seed, n in enumerate(sizes)]
    nn.init.normal_(f.film.out.weight)
    x, e = randn(2, 2, sum(sizes)), randn(2 * len(sizes), 3)
    y, begin = f(x, Mesh.batch(parts), e), 0
    for i, (part, n) in enumerate(zip(parts, sizes, strict=True)):
        nodes = slice(begin, begin + n)
        torch.testing.assert_close(y[..., nodes], f(x[..., nodes], part, e[i :: len(sizes)]))
        begin += n


def test_values_on_two_meshes_of_one_function_have_one_answer_in_the_limit() -> None:
    """A quadrature of second order, whatever the cells: a uniform line, and one whose left half is four times finer."""
    f, errors, q = small(1, 1, dim=1).requires_grad_(False), [], torch.rand(7, 1, dtype=torch.float64)
    for n in (16, 32, 64):
        answers = []
        for finer in (1, 4):
            left = torch.arange(n // 2 * finer, dtype=torch.float64) / (n * finer)
            x = torch.cat([left, torch.arange(n // 2, n + 1, dtype=torch.float64) / n])
            mesh = Mesh.from_cells(x[:, None], torch.stack([torch.arange(len(x) - 1), torch.arange(1, len(x))], 1))
            answers.append(f(torch.sin(4 * x)[None, None], mesh, queries=q))
        errors.append(float((answers[0] - answers[1]).abs().max()))
    assert errors[0] / errors[1] > 3.5 and errors[1] / errors[2] > 3.5 and errors[2] < 1e-3


def test_the_fused_kernel_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    f, mesh, x = small(), cloud(9), randn(2, 2, 9)
    y = f(x, mesh)
    monkeypatch.setattr(latent_operator, "FEW", 0)
    torch.testing.assert_close(f(x, mesh), y)


def test_gradients_are_those_of_finite_differences() -> None:
    f, mesh = small(1, 1, 2, width=8, layers=1), Mesh.batch([cloud(4), cloud(6, 1)])
    nn.init.normal_(f.film.out.weight)
    x, e = randn(1, 1, 10).requires_grad_(), randn(2, 2).requires_grad_()
    g = lambda x, e, w: torch.func.functional_call(f, {"encoder.anchor": w}, (x, mesh, e))  # noqa: E731
    assert torch.autograd.gradcheck(g, (x, e, f.encoder.anchor), fast_mode=True)


@pytest.mark.parametrize("domain", [Box.periodic((4, 5), 1.0), Mesh.batch([cloud(8), cloud(12, 1)])])
def test_forward_mode_agrees_with_finite_differences(domain: Box | Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_operator, "FEW", 0)
    f = small()
    x, t = randn(2, 2, 2, *domain.shape).unbind(0)
    _, derivative = torch.func.jvp(lambda x: f(x, domain), (x,), (t,))
    torch.testing.assert_close(derivative, (f(x + 1e-6 * t, domain) - f(x - 1e-6 * t, domain)) / 2e-6, rtol=1e-6, atol=1e-8)


def test_an_embedding_starts_without_effect_and_gains_one() -> None:
    f, plain, mesh, x, e = small(embedding=3), small(), cloud(7), randn(2, 2, 7), randn(2, 3)
    plain.load_state_dict({k: v for k, v in f.state_dict().items() if not k.startswith("film")})
    torch.testing.assert_close(f(x, mesh, e), plain(x, mesh))
    f(x, mesh, e).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in f.film.out.parameters())
    for row in range(3):
        changed = small(embedding=3)
        with torch.no_grad():
            changed.load_state_dict(f.state_dict())
            changed.film.out.bias.view(2, 3, 8)[0, row] = 1
        assert (changed(x, mesh, e) - f(x, mesh, e)).abs().max() > 1e-5


def test_the_parameters_are_counted_by_a_formula() -> None:
    w, p, latents, k, c = 8, 8, 5, 3, 2
    f = small(embedding=4)
    mlps = (c + 1) * 2 * w + (p + 1) * 2 * w + 2 * (2 * w + 1) * w + (p + 1) * 2 * w + (2 * w + 1) * k
    windows = 2 * (w * p + w * latents)
    ends = (w + 1) * w + latents * w + w * w + (w + 1) * w + (w + 1) * k + 1
    block = 2 * 2 * w + (w + 1) * 3 * w + (w + 1) * w + (w + 1) * 2 * w + (2 * w + 1) * w
    film = (4 + 1) * 2 * w + (2 * w + 1) * 3 * 2 * w
    assert sum(q.numel() for q in f.parameters()) == mlps + windows + ends + 2 * block + film


X, BOX = torch.zeros(2, 2, 4, 4, dtype=torch.float64), Box.periodic((4, 4), 1.0)


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, (X[:, :1], BOX), "x has 1 channels but this LatentOperator"),
        ({"dim": 1}, (X, BOX), "built with dim=1 but the Box has 2 dimensions"),
        ({}, (X[..., 0], cloud(5)), "this Mesh takes"),
        ({"embedding": 3}, (X, BOX), r"embedding of shape \(2, 3\).* got none"),
        ({}, (X, BOX, None, torch.zeros(3, 1, dtype=torch.float64)), r"queries are positions \(query, 2\)"),
        ({}, (X[..., 0], Mesh.batch([cloud(2), cloud(2)]), None, torch.zeros(3, 2)), "ask several meshes in turn"),
    ],
)
def test_what_does_not_fit_is_named(options: dict, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)(*arguments)


def test_a_single_node_and_walls_are_welcome() -> None:
    walled = Box((4, 4), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"), (None, (0.0, 0.2, 0.5, 0.6, 1.0)))
    assert small()(X[..., :1, 0], cloud(1)).isfinite().all() and small()(X, walled).shape == (2, 1, 4, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dim": 4},
        {"heads": 3},
        {"heads": 4},
        {"latents": 0},
        {"basis": 0},
        {"harmonics": 0},
        {"harmonics": (1,)},
        {"periodic": (True,)},
        {"expansion": 0.01},
    ],
)
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        small(**wrong)


def test_another_geometry_is_refused() -> None:
    with pytest.raises(TypeError, match="points of a Box or a Mesh, got a Other"):
        small()(X, Other())


class Other:
    shape, members, mask, measure = (4, 4), 1, None, torch.ones(4, 4)

    def integral(self, u: Tensor) -> Tensor:
        return u

    expand = integral
