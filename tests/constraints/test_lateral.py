"""The relaxation zone of a limited area: its profile, on grids and meshes, and that waves leave through it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from surrogates.constraints import LateralBoundaries
from surrogates.constraints.lateral import zone
from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box, Masked, Mesh, Sphere
from surrogates.fields import Field, Fields
from surrogates.record import construct, describe

FIELDS, CPU = Fields.of(Field("q"), Field("p")), torch.device("cpu")
AREA = Box((12, 9), (0.0, 0.0), (1.0, 1.0), ("wall", "periodic"))
NONE = torch.zeros(1, 0, dtype=torch.float64)


def at(domain: Domain, given: Tensor | None) -> Conditions:
    one = torch.ones(1, dtype=torch.float64)
    return Conditions(domain, one, one, torch.zeros(1, 0), boundary=None if given is None else lambda t: given)


def test_the_profile_falls_from_one_and_axes_that_repeat_have_none() -> None:
    alpha = zone(AREA, 8, (), CPU)
    assert (alpha == alpha[:, :1]).all() and torch.equal(alpha, alpha.flip(0))
    expected = [1 - math.tanh(j / 2) for j in range(6)]  # Kallberg's, at width 8
    torch.testing.assert_close(alpha[:6, 0], torch.tensor(expected, dtype=torch.float64))
    assert zone(AREA, 3, (), CPU)[3:9].abs().max() == 0
    sea = Masked(AREA, torch.rand(12, 9, generator=torch.Generator().manual_seed(0)) < 0.7)
    assert torch.equal(zone(sea, 8, (), CPU), alpha)
    corner = zone(Box((9, 9), (0.0, 0.0), (1.0, 1.0), ("wall", "wall")), 3, (), CPU)
    assert (corner[0] == 1).all() and corner[1, 4] == corner[1, 1] == corner[4, 1] and corner[4, 4] == 0


def test_on_a_mesh_distance_is_counted_along_edges() -> None:
    line = Mesh.from_cells(np.arange(6.0)[:, None], [[i, i + 1] for i in range(5)], {"sea": [0], "coast": [5]})
    expected = [1 - math.tanh(4 * j / 3) if j < 3 else 0 for j in range(6)]
    torch.testing.assert_close(zone(line, 3, ("sea",), CPU), torch.tensor(expected, dtype=torch.float64))
    both = zone(line, 3, (), CPU)
    torch.testing.assert_close(both, torch.maximum(both, zone(line, 3, ("sea",), CPU)))
    assert both[5] == 1
    pair = Mesh.batch([line, line])
    torch.testing.assert_close(zone(pair, 3, (), CPU), both.repeat(2))


def test_the_outermost_row_is_given_the_rest_relaxes_and_the_middle_is_free() -> None:
    generator = torch.Generator().manual_seed(0)
    u, g = torch.randn(2, 1, 2, 12, 9, generator=generator, dtype=torch.float64).unbind(0)
    law, here = LateralBoundaries(FIELDS, 4), at(AREA, g)
    held = law(u, NONE, here)
    assert law.defect(u, NONE, here).item() > 0.1 and law.defect(held, NONE, here).item() == 0
    assert torch.equal(held[:, :, [0, -1]], g[:, :, [0, -1]]) and torch.equal(held[:, :, 4:8], u[:, :, 4:8])
    alpha = zone(AREA, 4, (), CPU)
    torch.testing.assert_close(law(held, NONE, here) - g, (1 - alpha) ** 2 * (u - g))
    again = construct(json.loads(json.dumps(describe(law))))
    assert torch.equal(again(u, NONE, here), held)


def test_a_pulse_leaves_without_an_echo() -> None:
    """Waves q_t = -p_x, p_t = -q_x along their characteristics, between solid walls: the zone takes the pulse out, else it comes back."""
    n, box = 160, Box((160,), (0.0,), (160.0,), ("wall",))
    x = box.coordinate(0)
    pulse = torch.exp(-(((x - 110) / 6) ** 2))

    def run(law: LateralBoundaries | None) -> Tensor:
        u = torch.stack([pulse, pulse])[None]
        for _ in range(120):
            q, p = u.unbind(1)
            right, left = (q + p) / 2, (q - p) / 2  # the characteristics move by one point a step
            right, left = torch.cat([left[:, :1], right[:, :-1]], 1), torch.cat([left[:, 1:], right[:, -1:]], 1)
            u = torch.stack([right + left, right - left], 1)
            u = u if law is None else law(u, NONE, at(box, torch.zeros(1, 2, n, dtype=torch.float64)))
        return u[:, 0]

    assert run(None).abs().max() > 0.9
    assert run(LateralBoundaries(FIELDS, 24)).abs().max() < 0.02


def test_what_has_no_lateral_boundary_is_refused() -> None:
    u = torch.zeros(1, 2, 12, 9)
    law = LateralBoundaries(FIELDS)
    with pytest.raises(ValueError, match="no lateral boundary"):
        law(u, NONE, at(Box.periodic((12, 9), 1.0), u))
    with pytest.raises(ValueError, match="no lateral boundary"):
        law(u, NONE, at(Sphere((12, 9)), u))
    with pytest.raises(ValueError, match="conditions have no boundary"):
        law(u, NONE, at(AREA, None))
    with pytest.raises(ValueError, match="at least 1 point wide"):
        LateralBoundaries(FIELDS, 0)
    with pytest.raises(ValueError, match="'river' is not among those of this Mesh"):
        zone(Mesh.from_cells([[0.0], [1.0]], [[0, 1]], {"sea": [0]}), 2, ("river",), CPU)
