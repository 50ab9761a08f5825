"""Measurements: what sensors, coarse fields and budgets read of fields whose values are known, on every domain, and what is refused."""

import math

import numpy as np
import pytest
import torch

from surrogates.domains import Box, Mesh, Sphere
from surrogates.refine.conjugate import linearised
from surrogates.refine.measurement import BlockMeans, Budgets, Derived, Measurement, Observation, Sensors

F64 = {"dtype": torch.float64}
RING, PLANE = Box.periodic((16,), 3.0), Box.periodic((8, 12), (2.0, 3.0))
CHANNEL = Box((4, 3), (0.0, -1.0), (4.0, 1.0), ("periodic", "wall"), (None, (-1.0, -0.5, 0.5, 1.0)))
CUBE = Box((3, 4, 5), (0.0,) * 3, (3.0, 4.0, 5.0), ("wall",) * 3)
SQUARE = Mesh.from_cells([[0, 0], [1, 0], [1, 1], [0, 1], [0.4, 0.6]], [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])


def fields(shape, rows=2, channels=3):
    return torch.randn(rows, channels, *shape, generator=torch.Generator().manual_seed(0), **F64)


# -- sensors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", [RING, PLANE, CHANNEL, CUBE, Sphere((5, 8)), Sphere((5, 8), "poles", north_first=False, west=-180.0)])
def test_sensors_at_grid_points_read_the_grid(domain):
    u = fields(domain.shape)
    grid = torch.meshgrid(*(domain.coordinate(a) for a in range(domain.dim)), indexing="ij")
    where = torch.stack([g.flatten() for g in grid], 1)
    torch.testing.assert_close(Sensors.at(domain, where, 1, 0.1)(u), u[:, 1].flatten(1), rtol=0, atol=1e-12)


def test_sensors_at_nodes_read_the_nodes():
    u = fields(SQUARE.shape)
    torch.testing.assert_close(Sensors.at(SQUARE, SQUARE.points, 2, 0.1)(u), u[:, 2], rtol=0, atol=1e-14)


@pytest.mark.parametrize(("domain", "where"), [(CHANNEL, [[1.3, 0.2], [2.9, -0.7]]), (CUBE, [[1.1, 2.2, 3.3], [0.6, 3.4, 2.5]])])
def test_linear_fields_are_read_exactly(domain, where):
    grid = domain.grid()
    u = sum((k + 1) * g for k, g in enumerate(grid))[None, None]
    read = Sensors.at(domain, where, 0, 0.1)(u)
    torch.testing.assert_close(read[0], sum((k + 1) * torch.tensor(where, **F64)[:, k] for k in range(domain.dim)))


def test_linear_fields_are_read_exactly_inside_triangles():
    where = torch.rand(20, 2, generator=torch.Generator().manual_seed(1), **F64)
    u = (2 * SQUARE.points[:, 0] - 3 * SQUARE.points[:, 1] + 1)[None, None]
    torch.testing.assert_close(Sensors.at(SQUARE, where, 0, 0.1)(u)[0], 2 * where[:, 0] - 3 * where[:, 1] + 1)


def test_the_error_of_interpolation_is_of_second_order():
    where, errors = [[0.123], [1.777], [2.99]], []
    for n in (16, 32, 64):
        box = Box.periodic((n,), 3.0)
        u = torch.sin(2 * math.pi / 3 * box.coordinate(0))[None, None]
        exact = torch.sin(2 * math.pi / 3 * torch.tensor(where, **F64)).flatten()
        errors.append((Sensors.at(box, where, 0, 0.1)(u)[0] - exact).abs().max())
    assert errors[0] / errors[2] > 8 and errors[2] < 2e-3


def test_repeating_axes_wrap():
    u = fields(RING.shape)
    torch.testing.assert_close(Sensors.at(RING, [[-0.1], [3.1]], 0, 0.1)(u), Sensors.at(RING, [[2.9], [0.1]], 0, 0.1)(u))
    globe = Sphere((5, 8))
    v = fields(globe.shape)
    torch.testing.assert_close(Sensors.at(globe, [[10.0, -20.0]], 0, 0.1)(v), Sensors.at(globe, [[10.0, 340.0]], 0, 0.1)(v))


def test_a_cloud_reads_its_nearest_node_across_its_period():
    points = np.linspace(0, 0.9, 10)[:, None]
    cloud = Mesh.from_nearest(points, 2, periods=(1.0,))
    u = torch.arange(10.0)[None, None]
    assert Sensors.at(cloud, [[0.31], [0.97]], 0, 0.1)(u).tolist() == [[3.0, 0.0]]


def test_points_may_be_given_by_their_indices():
    u = fields(PLANE.shape)
    by_axis, flat = Sensors.points(PLANE, [[2, 3], [7, 11]], [0, 2], 0.1), Sensors.points(PLANE, [27, 95], [0, 2], 0.1)
    assert torch.equal(by_axis(u), torch.stack([u[:, 0, 2, 3], u[:, 2, 7, 11]], 1)) and torch.equal(flat(u), by_axis(u))


# -- the others ------------------------------------------------------------------------------------------------------


def test_block_means_keep_integrals_and_are_means():
    u = fields(PLANE.shape)
    coarse = BlockMeans(PLANE, (4, 3), 0.1, (2, 0))(u).reshape(2, 2, 2, 4)
    torch.testing.assert_close(coarse[:, 0, 1, 3], u[:, 2, 4:, 9:].mean((1, 2)))
    torch.testing.assert_close(coarse.mean((2, 3)), u[:, [2, 0]].mean((2, 3)))


def test_block_means_on_stretched_cells_are_weighed_by_their_size():
    u = fields(CHANNEL.shape)
    means = BlockMeans(CHANNEL, (2, 3), 0.1)(u).reshape(2, 3, 2)
    torch.testing.assert_close(means.mean(2) * 8.0, CHANNEL.integral(u))
    assert (means - u.reshape(2, 3, 2, 2, 3).mean((3, 4))).abs().max() > 0.01


@pytest.mark.parametrize("domain", [PLANE, Sphere((5, 8)), SQUARE])
def test_budgets_are_integrals(domain):
    u = fields(domain.shape)
    torch.testing.assert_close(Budgets(domain, 0.1, (1,))(u), domain.integral(u)[:, 1:2])


def test_budgets_of_a_mesh_of_members_stand_side_by_side():
    batch = Mesh.batch([SQUARE, SQUARE])
    u = fields(batch.shape)
    assert Budgets(batch, 0.1)(u).shape == (2, 2 * 3)
    torch.testing.assert_close(Budgets(batch, 0.1)(u).reshape(4, 3), batch.integral(u))


def test_a_derived_measurement_sees_the_function():
    u = fields(PLANE.shape)
    speed = Derived(lambda u: u[:, :2].square().sum(1, keepdim=True).sqrt(), Sensors.points(PLANE, [0, 5], 0, 0.3))
    torch.testing.assert_close(speed(u), u[:, :2].flatten(2)[..., [0, 5]].norm(dim=1))
    assert speed.error == 0.3


MEASUREMENTS = {
    "sensors": Sensors.at(PLANE, [[0.3, 0.4], [1.9, 2.9]], [0, 2], 0.1),
    "means": BlockMeans(PLANE, (4, 3), 0.1),
    "budgets": Budgets(PLANE, 0.1),
    "derived": Derived(lambda u: u.sin() * u[:, :1], Sensors.points(PLANE, [0, 5], 1, 0.1)),
}


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_measurements_have_true_derivatives_and_see_rows_alone(name):
    a, u = MEASUREMENTS[name], fields(PLANE.shape)
    assert isinstance(a, Measurement)
    torch.testing.assert_close(a(u[1:]), a(u)[1:])
    assert a(u.float()).dtype == torch.float32
    assert torch.autograd.gradcheck(a, u.clone().requires_grad_())
    _, push, pull = linearised(a, u)
    v, w = fields(PLANE.shape), fields((a(u).shape[1],), channels=1)[:, 0]
    torch.testing.assert_close((push(v) * w).sum(), (v * pull(w)).sum())  # G and its transpose
    finite = (a(u + 1e-6 * v) - a(u - 1e-6 * v)) / 2e-6
    torch.testing.assert_close(push(v), -finite, rtol=1e-6, atol=1e-7)


# -- observations ----------------------------------------------------------------------------------------------------


def test_a_misfit_is_in_units_of_the_error_and_blind_to_what_was_not_read():
    u = fields(RING.shape)
    a = Sensors.points(RING, [1, 2, 3], 0, torch.tensor([0.1, 0.2, 0.4]))
    y = torch.tensor([1.0, torch.nan, 3.0])
    r = Observation(a, y).misfit(u)
    torch.testing.assert_close(r[:, [0, 2]], (torch.tensor([1.0, 3.0], **F64) - u[:, 0, [1, 3]]) / torch.tensor([0.1, 0.4], **F64))
    assert torch.equal(r[:, 1], torch.zeros(2, **F64))
    v = u.clone().requires_grad_()
    (g,) = torch.autograd.grad(Observation(a, y).misfit(v).sum(), v)
    assert g.isfinite().all() and (g[:, 0, 2] == 0).all()


def test_values_may_be_one_row_or_one_each_in_any_shape():
    u = fields(PLANE.shape)
    a = BlockMeans(PLANE, (4, 3), 0.1)
    one, each = torch.ones(3, 2, 4), torch.ones(2, 3, 2, 4)
    assert torch.equal(Observation(a, one).misfit(u), Observation(a, each).misfit(u))


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "where", "message"),
    [
        (CHANNEL, [[0.0, 1.2]], "along axis 'y' lie off the domain, which reaches from -1.0 to 1.0"),
        (Sphere((5, 8)), [[91.0, 0.0]], "along axis 'lat' lie off the domain"),
        (SQUARE, [[0.5, 0.5], [1.5, 0.5]], r"\[\[1.5, 0.5\]\] lie off the mesh, inside no cell"),
        (Mesh.from_nearest([[0.0], [0.1], [0.2]], 1), [[0.9]], "farther than the longest edge"),
        (PLANE, [[0.3]], "has 2 finite coordinates"),
        (PLANE, [[0.3, math.nan]], "has 2 finite coordinates"),
    ],
)
def test_a_sensor_off_the_domain_is_told(domain, where, message):
    with pytest.raises(ValueError, match=message):
        Sensors.at(domain, where, 0, 0.1)


def test_points_and_channels_that_do_not_exist_are_told():
    for points in ([-1], [16], [[3, 4]]):
        with pytest.raises(ValueError, match="must lie in a grid of shape"):
            Sensors.points(RING, points, 0, 0.1)
    with pytest.raises(ValueError, match="read channel 5 at point 3 but u has 3 channels"):
        Sensors.points(RING, [3], 5, 0.1)(fields(RING.shape))
    with pytest.raises(ValueError, match="count from 0"):
        Sensors.points(RING, [3], -1, 0.1)
    with pytest.raises(ValueError, match="must be as many"):
        Sensors.points(RING, [3, 4], [0, 1, 2], 0.1)
    for made in (BlockMeans(PLANE, (4, 3), 0.1, (3,)), Budgets(PLANE, 0.1, (0, -1))):
        with pytest.raises(ValueError, match="are measured but u has those from 0 to 2"):
            made(fields(PLANE.shape))


@pytest.mark.parametrize("error", [0.0, -0.1, math.nan, math.inf])
def test_an_error_that_is_no_deviation_is_told(error):
    for make in (
        lambda: Sensors.points(RING, [3], 0, error),
        lambda: BlockMeans(PLANE, (4, 3), error),
        lambda: Budgets(PLANE, error),
    ):
        with pytest.raises(ValueError, match="a standard deviation is positive; what holds without any error is a law"):
            make()


def test_shapes_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match="one number, or one a value"):
        Sensors.points(RING, [3], 0, torch.tensor([0.1, 0.2]))
    for factors in ((3, 3), (4,), (0, 3)):
        with pytest.raises(ValueError, match="do not tile a Box of shape"):
            BlockMeans(PLANE, factors, 0.1)
    with pytest.raises(ValueError, match="5 values were observed but the measurement makes 1 in each of 2 rows"):
        Observation(Sensors.points(RING, [3], 0, 0.1), torch.ones(5)).misfit(fields(RING.shape))
