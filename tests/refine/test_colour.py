"""Colours are linear in eps, so their covariances are taken exactly, from unit vectors; nothing here is sampled but one check."""

import json
import math

import pytest
import torch
from torch.special import legendre_polynomial_p

from surrogates.domains import Box, Mesh, Sphere
from surrogates.noise import AtStep, SeededNoise
from surrogates.record import construct, describe
from surrogates.refine import FlowMatching, GaussianSource, GaussianVelocity
from surrogates.refine.colour import Spectral, UnderMeasure, WhiteOnSphere
from surrogates.refine.source import Colour

F64 = {"dtype": torch.float64}
GRIDS = ("cells", "poles", "legendre-gauss")


def covariance(colour, domain):
    """(N, N) of the noise at N points: W^T W with the rows of W what each unit vector becomes."""
    n = math.prod(domain.shape)
    w = colour(torch.eye(n, **F64).reshape(n, 1, *domain.shape), domain).reshape(n, n)
    return w.T @ w


# -- spectral ------------------------------------------------------------------------------------------------------

BOXES = [Box.periodic((9,), 2.0), Box.periodic((8,), 2.0), Box.periodic((8, 6), (3.0, 2.0)), Box.periodic((5, 4, 6), (1.0, 2.0, 3.0))]


@pytest.mark.parametrize("box", BOXES, ids=lambda b: f"{b.shape}")
@pytest.mark.parametrize("colour", [Spectral(0.3), Spectral(0.5, 2.0), Spectral(10.0, 5 / 3)], ids=str)
def test_the_variance_is_one_at_every_point(box, colour):
    torch.testing.assert_close(covariance(colour, box).diagonal(), torch.ones(math.prod(box.shape), **F64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("box", BOXES, ids=lambda b: f"{b.shape}")
@pytest.mark.parametrize("colour", [Spectral(0.0), Spectral(0.7, 0.0)], ids=str)
def test_no_length_or_no_exponent_is_white(box, colour):
    eps = torch.randn(2, 3, *box.shape, **F64)
    torch.testing.assert_close(colour(eps, box), eps, rtol=1e-12, atol=1e-12)


def test_the_spectrum_is_that_of_matern_in_physical_wavenumbers():
    """Variance of mode k over that of mode 0, for a box whose axes differ in length and number of points."""
    box, length, exponent = Box.periodic((12, 8), (3.0, 1.0)), 0.2, 3.0
    s = covariance(Spectral(length, exponent), box).reshape(12, 8, 12, 8)
    power = torch.fft.fftn(s[0, 0]).real  # of a stationary field: the transform of its covariance with one point
    for p, q in ((1, 0), (0, 1), (3, 2), (6, 4), (11, 3)):
        k2 = (2 * math.pi * min(p, 12 - p) / 3.0) ** 2 + (2 * math.pi * min(q, 8 - q) / 1.0) ** 2
        expected = (1 + length**2 * k2) ** (-exponent / 2)
        assert abs(power[p, q] / power[0, 0] / expected - 1) < 1e-10
    moved = s.roll((2, 1, 2, 1), (0, 1, 2, 3))
    torch.testing.assert_close(moved, s, rtol=0, atol=1e-12)


def test_a_continuous_field_is_the_same_at_every_resolution():
    colour, lag = Spectral(0.3, 6.0), []
    for n in (32, 64, 128):
        s = covariance(colour, Box.periodic((n,), 2 * math.pi))
        lag.append(s[0, n // 16].item())  # the same distance
    assert 0.1 < lag[0] < 0.9
    assert abs(lag[2] - lag[1]) < abs(lag[1] - lag[0]) < 1e-3


def test_walls_other_domains_and_impossible_numbers_are_refused():
    walled = Box((4, 4), (0.0, 0.0), (1.0, 1.0), ("periodic", "wall"))
    with pytest.raises(ValueError, match="needs periodic axes"):
        Spectral(0.1)(torch.zeros(1, 1, 4, 4), walled)
    with pytest.raises(TypeError, match="got a Sphere; write WhiteOnSphere"):
        Spectral(0.1)(torch.zeros(1, 1, 4, 8), Sphere((4, 8)))
    with pytest.raises(TypeError, match="WhiteOnSphere is for a Sphere, got a Box"):
        WhiteOnSphere()(torch.zeros(1, 1, 8), Box.periodic((8,), 1.0))
    for numbers in ((-1.0, 2.0), (1.0, -2.0)):
        with pytest.raises(ValueError, match="must not be negative"):
            Spectral(*numbers)


# -- the sphere ----------------------------------------------------------------------------------------------------


def angles(sphere):
    phi, lam = torch.deg2rad(sphere.coordinate(0)), torch.deg2rad(sphere.coordinate(1))
    x = torch.stack([phi.cos()[:, None] * lam.cos(), phi.cos()[:, None] * lam.sin(), phi.sin()[:, None].expand(sphere.shape)], -1)
    points = x.reshape(-1, 3)
    return (points @ points.T).clamp(-1, 1)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shape", [(6, 12), (7, 9), (5, 20)])
def test_the_covariance_on_the_sphere_depends_on_the_angle_alone(grid, shape):
    """Rotation invariance, unit variance and the flat angular spectrum are one formula: sum (2l + 1) P_l(cos angle) / L^2."""
    sphere = Sphere(shape, grid, west=13.0)
    size = min(shape[0] - (grid == "poles"), (shape[1] + 1) // 2)
    cosine = angles(sphere)
    expected = sum((2 * degree + 1) * legendre_polynomial_p(cosine, degree) for degree in range(size)) / size**2
    torch.testing.assert_close(covariance(WhiteOnSphere(), sphere), expected, rtol=0, atol=1e-11)


def test_grid_white_noise_is_not_white_on_the_sphere():
    """What the colour is for: of independent numbers a cap at the pole has far less variance than one of its size elsewhere."""
    sphere = Sphere((16, 32))
    m = sphere.measure
    cap, belt = torch.zeros(16, 32, **F64), torch.zeros(16, 32, **F64)
    cap[:2], belt[7:9, :5] = 1, 1  # of nearly the same area
    white, coloured = torch.eye(512, **F64), covariance(WhiteOnSphere(), sphere)

    def variance(s, part):
        w = (part * m).flatten()
        return (w @ s @ w / (part * m).sum()).item()

    assert variance(white, cap) / variance(white, belt) < 0.5
    assert abs(variance(coloured, cap) / variance(coloured, belt) - 1) < 0.25


# -- the measure ---------------------------------------------------------------------------------------------------


def strip(sizes):
    """A chain of nodes whose dual cells have these lengths."""
    edges = torch.tensor([[i, i + 1] for i in range(len(sizes) - 1)])
    both = torch.cat([edges, edges.flip(1)]).T
    ends = torch.tensor(sizes, **F64).cumsum(0)
    return Mesh((ends - torch.tensor(sizes, **F64) / 2)[:, None], both, torch.tensor(sizes, **F64))


def test_the_law_of_integrals_does_not_depend_on_where_a_mesh_is_refined():
    """Two chains of eight nodes over [0, 1], one refined on the left, one on the right: both halves have the same variance."""
    left, right = strip([0.1] * 5 + [0.5 / 3] * 3), strip([0.25, 0.25] + [0.5 / 6] * 6)
    for mesh in (left, right):
        s = covariance(UnderMeasure(), mesh)
        half = (mesh.points[:, 0] < 0.5).double() * mesh.measure
        assert abs(half.sum() - 0.5) < 1e-12
        assert abs(half @ s @ half - 0.5 / 8) < 1e-12
        assert abs((mesh.measure @ s.diagonal()) - 1) < 1e-12  # the mean of the variance


def test_splitting_a_node_leaves_what_it_covers():
    """A node cut in two equal parts: up to the factor (n + 1)/n that all share, the integral over both is that over the one."""
    whole, split = strip([0.4, 0.2, 0.4]), strip([0.4, 0.1, 0.1, 0.4])
    for mesh, nodes in ((whole, [1]), (split, [1, 2])):
        w = torch.zeros(len(mesh.measure), **F64)
        w[nodes] = mesh.measure[nodes]
        assert abs(w @ covariance(UnderMeasure(), mesh) @ w * len(mesh.measure) - 0.2) < 1e-12


def test_members_of_a_batch_of_meshes_keep_their_own_noise():
    a, b = strip([0.4, 0.2, 0.4]), strip([1.0, 2.0, 3.0, 4.0])
    eps = torch.randn(2, 3, 7, **F64)
    both = UnderMeasure()(eps, Mesh.batch([a, b]))
    torch.testing.assert_close(both[..., :3], UnderMeasure()(eps[..., :3], a))
    torch.testing.assert_close(both[..., 3:], UnderMeasure()(eps[..., 3:], b))


def test_equal_cells_stay_white():
    eps = torch.randn(2, 1, 6, 4)
    assert UnderMeasure()(eps, Box.periodic((6, 4), 1.0)) is eps
    stretched = Box((3,), (0.0,), (1.0,), ("wall",), ((0.0, 0.1, 0.4, 1.0),))
    s = covariance(UnderMeasure(), stretched)
    torch.testing.assert_close(s, torch.diag(torch.tensor([1 / 0.3, 1 / 0.9, 1 / 1.8], **F64)))


# -- the contract --------------------------------------------------------------------------------------------------

ALL = [(Spectral(0.3, 3.0), Box.periodic((8, 6), 2.0)), (WhiteOnSphere(), Sphere((6, 12))), (UnderMeasure(), strip([0.1, 0.2, 0.7]))]


@pytest.mark.parametrize(("colour", "domain"), ALL, ids=lambda v: type(v).__name__)
def test_a_colour_writes_itself_down_and_serves_a_flow(colour, domain):
    assert isinstance(colour, Colour)
    source = construct(json.loads(json.dumps(describe(GaussianSource(colour)))))
    assert source == GaussianSource(colour)
    refiner = FlowMatching(GaussianVelocity((0.0,), ((1.0,),)), channels=1, source=source, steps=1)
    context, noise = torch.zeros(3, 0, *domain.shape), AtStep(SeededNoise(5, [0, 1, 2], [0, 0, 0]), 3)
    z = refiner.start(refiner.frame(None, context), context, domain, noise)
    assert z.dtype == torch.float32 and z.shape == (3, 1, *domain.shape)
    one = AtStep(SeededNoise(5, [1], [0]), 3)
    alone = refiner.start(refiner.frame(None, context[:1]), context[:1], domain, one)
    torch.testing.assert_close(alone, z[1:2], rtol=0, atol=1e-6)  # a row is a function of its own draws
    assert refiner(None, context, None, domain, noise).shape == z.shape


@pytest.mark.parametrize(("colour", "domain"), ALL, ids=lambda v: type(v).__name__)
def test_single_precision_is_double_rounded(colour, domain):
    eps = torch.randn(2, 3, *domain.shape, **F64)
    torch.testing.assert_close(colour(eps.float(), domain).double(), colour(eps, domain), rtol=0, atol=1e-5)
