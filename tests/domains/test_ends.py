"""Ends say what they are, and go on saying it: in JSON, at other resolutions, behind coasts."""

from __future__ import annotations

import json

import pytest
import torch

from surrogates.domains import Box, Masked, Mesh, Patch, Sphere, layout
from surrogates.domains.crop import Crop
from surrogates.domains.ends import check_closed, ends_of_grid, open_ends

TUBE = Box((4, 6, 3), (0.0,) * 3, (1.0, 2.0, 3.0), ("wall", "periodic", "wall"), open_ends=("z_lower", "x_upper"))


def test_a_box_knows_its_sides() -> None:
    assert TUBE.ends == ("x_lower", "x_upper", "z_lower", "z_upper")
    assert TUBE.open_ends == ("x_upper", "z_lower"), "in the order of the ends, so that equal boxes are equal"
    assert TUBE.sides == (("wall", "open"), ("periodic", "periodic"), ("open", "wall"))
    assert TUBE.kinds == ("wall to open", "periodic", "open to wall")
    assert Box((4,), (0.0,), (1.0,), ("wall",)).kinds == ("wall",)
    assert Box(TUBE.shape, TUBE.lower, TUBE.upper, TUBE.boundary) != TUBE


def test_they_are_written_down_and_read_again() -> None:
    for domain in (TUBE, Masked(TUBE, torch.rand(4, 6, 3) > 0.2)):
        again = layout.read(json.loads(json.dumps(layout.entry(domain))), dict(zip("xyz", TUBE.shape, strict=True)), {})
        assert again == domain and ends_of_grid(again) == TUBE.open_ends
    assert TUBE.with_shape((8, 8, 8)).open_ends == TUBE.open_ends
    closed = Box((4,), (0.0,), (1.0,), ("wall",))
    assert "open_ends" not in closed.to_json() and Box.from_json(closed.to_json()) == closed, (
        "files of before are read, and stay as they were"
    )


def test_ends_behind_land_are_closed() -> None:
    wet = torch.ones(4, 6, 3, dtype=torch.bool)
    wet[-1] = False
    behind = Masked(TUBE, wet)
    assert open_ends(behind) == ("z_lower",) and ends_of_grid(behind) == TUBE.open_ends
    assert open_ends(Crop(behind, ((0, 1), (0, 0), (0, 0)))) == ("z_lower",)


def test_a_part_of_a_sphere_ends_where_it_is_cut() -> None:
    assert open_ends(Sphere((4, 8))) == ()
    assert open_ends(Patch((4, 8), -90.0, 90.0, 0.0, 360.0)) == ()
    assert open_ends(Patch((4, 8), -90.0, 20.0, 0.0, 360.0)) == ("north",)
    assert open_ends(Patch((4, 8), -10.0, 20.0, 0.0, 30.0)) == ("south", "north", "west", "east")
    for north_first in (False, True):
        wet = torch.ones(4, 8, dtype=torch.bool)
        wet[0] = False
        wet[:, -1] = False
        part = Patch((4, 8), -10.0, 20.0, 0.0, 30.0, north_first)
        assert open_ends(Masked(part, wet)) == (("south",) if north_first else ("north",)) + ("west",)


def test_what_cannot_be_open_is_refused() -> None:
    with pytest.raises(ValueError, match="open end 'y_lower' is not among the ends of this Box: x_lower, x_upper, z_lower, z_upper"):
        Box(TUBE.shape, TUBE.lower, TUBE.upper, TUBE.boundary, open_ends=("y_lower",))
    with pytest.raises(ValueError, match="none, as it repeats"):
        Box((4,), (0.0,), (1.0,), ("periodic",), open_ends=("x_upper",))
    with pytest.raises(ValueError, match=r"'open' is unknown; .* open_ends=\('x_lower', 'x_upper'\)"):
        Box((4,), (0.0,), (1.0,), ("open",))


def test_the_error_says_what_and_where() -> None:
    with pytest.raises(
        ValueError, match=r"^A total stays, but something passes the open ends x_upper, z_lower of this domain; think again$"
    ):
        check_closed(TUBE, "A total stays", "think again")
    check_closed(Mesh.from_nearest(torch.rand(9, 2), 3), "A mesh names its boundaries to whom it concerns", "nothing")
