"""A box with land: measure, integrals, one-sided differences at coasts, equality and storage."""

from __future__ import annotations

import json

import pytest
import torch
from laws import domain_laws

from surrogates.contracts import Domain
from surrogates.domains import KINDS, Box, Masked
from surrogates.record import construct

BOX = Box((5, 4), (0.0, 0.0), (2.0, 1.0), ("wall", "periodic"), ((0.0, 0.1, 0.4, 0.5, 1.5, 2.0), None))
WET = torch.ones(5, 4, dtype=torch.bool)
WET[1:3, 2] = False
SEA = Masked(BOX, WET)


def test_passes_the_laws_of_a_domain_with_land_and_without() -> None:
    domain_laws(Masked(BOX, torch.ones(5, 4, dtype=torch.bool)))
    domain_laws(Masked(BOX, torch.arange(20).reshape(5, 4) % 3 > 0))


def test_measure_is_that_of_wet_cells_and_integrals_see_no_others() -> None:
    assert isinstance(SEA, Domain) and SEA.members == 1 and torch.equal(SEA.mask, WET)
    assert torch.equal(SEA.measure, torch.where(WET, BOX.measure, 0.0)) and SEA.measure.dtype == torch.float64
    u = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    expected = (u.double() * SEA.measure).flatten(2).sum(2)
    torch.testing.assert_close(SEA.integral(u), expected)
    torch.testing.assert_close(SEA.integral(torch.where(WET, u, torch.nan)), expected)
    torch.testing.assert_close(SEA.average(torch.ones_like(u)), torch.ones(2, 3, dtype=torch.float64))
    assert SEA.volume == pytest.approx(2 - 0.4 * 0.25) and SEA.expand(torch.rand(2, 3)).shape == (2, 3, 5, 4)


@pytest.mark.parametrize("axis", [0, 1])
def test_differences_are_exact_for_linear_fields_up_to_the_coast(axis: int) -> None:
    """Nothing is taken from dry cells, not even NaN; zero there, and along an axis where no neighbour is wet."""
    box = Box((5, 4), (0.0, 0.0), (2.0, 1.0), ("wall", "wall"), BOX.edges)
    u = torch.where(WET, 3 * box.grid()[axis] + 1, torch.nan)[None, None]
    slope, expected = Masked(box, WET).gradient(u), torch.zeros(2, 5, 4, dtype=torch.float64)
    expected[axis][WET] = 3.0
    for lone in ((0, 2),) if axis == 0 else ((1, 3), (2, 3)):
        expected[axis][lone] = 0.0
    torch.testing.assert_close(slope[0], expected)


def test_differences_without_land_are_those_of_a_walled_box() -> None:
    box = Box((5, 4), (0.0, 0.0), (2.0, 1.0), ("wall", "wall"), BOX.edges)
    u = torch.randn(2, 1, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(Masked(box, torch.ones(5, 4, dtype=torch.bool)).gradient(u), box.gradient(u))


def test_a_periodic_axis_goes_round_and_a_lone_cell_has_no_slope() -> None:
    box = Box.periodic((4, 3), (4.0, 3.0))
    only = torch.zeros(4, 3, dtype=torch.bool)
    only[[0, 3, 0], [0, 0, 2]] = True
    u = torch.tensor([2.0, 0.0, 0.0, 7.0], dtype=torch.float64)[:, None].expand(4, 3)[None, None]
    slope = Masked(box, only).derivative(u, 0)[0, 0]
    assert slope[0, 0] == -5.0 and slope[3, 0] == -5.0 and slope[0, 2] == 0.0


def test_equal_where_box_and_wet_cells_are() -> None:
    other = WET.clone()
    other[0, 0] = False
    assert Masked(BOX, WET.clone()) == SEA and hash(Masked(BOX, WET.clone())) == hash(SEA)
    assert Masked(BOX, other) != SEA and Masked(Box.periodic((5, 4), 1.0), WET) != SEA and SEA != BOX
    assert repr(SEA).startswith("Masked(18 of 20 cells of Box(")


def test_is_not_changed_from_outside() -> None:
    own = WET.clone()
    sea = Masked(BOX, own)
    own[0, 0] = False
    assert sea == SEA


def test_is_rebuilt_from_storage_of_one_bit_a_cell() -> None:
    entry = json.loads(json.dumps(SEA.to_json()))
    assert len(entry["wet"]) == 4 and KINDS["masked"].from_json(entry) == SEA and construct({"masked": entry}) == SEA
    with pytest.raises(ValueError, match="type 'masked', got 'box'"):
        Masked.from_json(BOX.to_json())
    with pytest.raises(ValueError, match="3 bytes but a box"):
        Masked.from_json({**entry, "box": Box.periodic((5, 5), 1.0).to_json()})


def test_bad_masks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(5, 3\) but the box \(5, 4\)"):
        Masked(BOX, WET[:, :3])
    with pytest.raises(ValueError, match="no cell is wet"):
        Masked(BOX, torch.zeros(5, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="this Box takes"):
        SEA.integral(torch.zeros(1, 1, 4, 4))
