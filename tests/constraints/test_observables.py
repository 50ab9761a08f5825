"""Weights of linear functionals: regions that wrap, flow rates that do not depend on where a uniform stream is cut, given patterns."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from surrogates.constraints import Observable, Through, Within
from surrogates.domains import Box, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.record import construct, describe

FIELDS = Fields.of(Field("q"), Field("velocity", "m s-1", ("x", "y")))
CHANNEL = Box((6, 5), (0.0, -1.0), (6.0, 1.0), ("periodic", "wall"), (None, (-1.0, -0.9, -0.5, 0.0, 0.7, 1.0)))


@pytest.mark.parametrize("at", [0.0, 2.3, 5.9, 6.0])
def test_the_flow_rate_of_a_uniform_stream_is_speed_times_section(at: float) -> None:
    u = torch.tensor([9.0, 1.5, -7.0], dtype=torch.float64)[:, None, None].expand(3, 6, 5)
    w = Through("velocity", 0, at).weights(FIELDS, CHANNEL)
    torch.testing.assert_close(CHANNEL.integral((w * u).sum(1)[None]), torch.tensor([[3.0]], dtype=torch.float64))


def test_the_flow_rate_is_linear_between_points_and_constant_beyond_them() -> None:
    y = CHANNEL.grid()[1]
    u = torch.stack([0 * y, 0 * y, 2 * y])

    def rate(at: float) -> float:
        w = Through("velocity", 1, at).weights(FIELDS, CHANNEL)
        return CHANNEL.integral((w * u).sum(1)[None]).item()

    assert rate(0.3) == pytest.approx(2 * 0.3 * 6) and rate(-0.8) == pytest.approx(-2 * 0.8 * 6)
    assert rate(1.0) == pytest.approx(2 * 0.85 * 6)


def test_regions_wrap_where_axes_repeat() -> None:
    box = Box.periodic((8,), 8.0)
    mesh = Mesh.from_nearest(np.arange(8.0)[:, None], 2, periods=(8.0,))
    line = Fields.of(Field("q"))
    for domain in (box, mesh):
        across = Within("q", (6.5,), (9.5,)).weights(line, domain)[0, 0]
        assert across.tolist() == [1, 1, 0, 0, 0, 0, 0, 1]
    greenwich = Within("q", (-90.0, 345.0), (0.0, 375.0)).weights(line, Sphere((2, 12)))[0, 0]
    assert greenwich[0].tolist() == [0.0] * 12 and greenwich[1].nonzero()[:, 0].tolist() == [0]


def test_a_region_of_a_vector_has_one_functional_a_component() -> None:
    w = Within("velocity", (0.0, -1.0), (3.0, 1.0)).weights(FIELDS, CHANNEL)
    assert w.shape == (2, 3, 6, 5) and w[0, 1, 2, 0] == 1 and w[0, 2].sum() == 0 and w[1, 2, 3, 0] == 0


def test_given_weights_are_written_down_whatever_they_came_as() -> None:
    values = torch.arange(30.0).reshape(6, 5)
    once, again = Observable("q", values.numpy()), Observable("q", values.tolist())
    assert once == again == construct(json.loads(json.dumps(describe(once))))
    assert torch.equal(once.weights(FIELDS, CHANNEL)[0, 0], values.double())


def test_what_makes_no_sense_on_a_domain_is_refused() -> None:
    with pytest.raises(ValueError, match="one number an axis"):
        Within("q", (0.0,), (1.0,)).weights(FIELDS, CHANNEL)
    with pytest.raises(ValueError, match="needs a Box"):
        Through("velocity", 0, 0.0).weights(FIELDS, Sphere((2, 4)))
    with pytest.raises(ValueError, match="vector of 2 components"):
        Through("q", 0, 0.0).weights(FIELDS, CHANNEL)
    with pytest.raises(ValueError, match="does not lie in"):
        Through("velocity", 0, 7.0).weights(FIELDS, CHANNEL)
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        Observable("q", torch.ones(2, 2)).weights(FIELDS, CHANNEL)
