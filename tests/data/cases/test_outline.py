"""Outlines enclose the area of what they stand for, whatever the angle; what overlaps has no gap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogates.data.cases.outline import Obstacle, area, gap, inside

ANGLES = st.floats(0, 360)


@given(aspect=st.floats(0.3, 3), angle=ANGLES, spacing=st.floats(0.01, 0.2))
def test_an_ellipse_keeps_its_area_at_any_spacing(aspect: float, angle: float, spacing: float) -> None:
    points = Obstacle(0.2, 0.2, 0.1, aspect, 0, angle).outline(spacing * 0.1)
    assert area(points) == pytest.approx(np.pi * aspect * 0.1**2 / 4, rel=1e-10)


def test_points_of_an_ellipse_are_evenly_spaced() -> None:
    points = Obstacle(0.0, 0.0, 1.0, 2.0).outline(0.05)
    steps = np.hypot(*(points - np.roll(points, 1, axis=0)).T)
    assert steps.max() / steps.min() < 1.02 and steps.mean() == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize(("corners", "share"), [(3, 0.5), (4, 1.0)])
@given(angle=ANGLES)
def test_polygons_have_the_area_of_their_box(corners: int, share: float, angle: float) -> None:
    """A triangle fills half of the box that holds it, a rectangle all."""
    points = Obstacle(1.0, 2.0, 0.5, 1.5, corners, angle).outline(0.02)
    assert area(points) == pytest.approx(share * 0.5 * 0.75, rel=1e-10)


def test_unturned_outlines_have_the_extent_that_they_say() -> None:
    for corners in (0, 3, 4, 5, 6):
        points = Obstacle(0.0, 0.0, 0.2, 1.3, corners).outline(0.001)
        assert np.ptp(points, axis=0) == pytest.approx([0.26, 0.2], rel=1e-4)
    assert Obstacle(0.0, 0.0, 1.0, 1.0, 3).outline(0.1)[:, 0].argmin() == 0  # a corner upstream


@given(corners=st.sampled_from([0, 3, 4, 6]), angle=ANGLES, aspect=st.floats(0.5, 2))
def test_the_circle_of_its_radius_holds_an_obstacle(corners: int, angle: float, aspect: float) -> None:
    o = Obstacle(0.3, 0.1, 0.1, aspect, corners, angle)
    reach = np.hypot(*(o.outline(0.01) - [0.3, 0.1]).T).max()
    assert reach <= o.radius * 1.03  # the points of an ellipse are pushed out a little
    assert reach >= o.radius * 0.97


def test_gaps_are_distances_and_vanish_where_outlines_meet() -> None:
    one, other = (Obstacle(x, 0.2, 0.1).outline(0.001) for x in (0.2, 0.35))
    assert gap(one, other) == pytest.approx(0.05, abs=1e-4)
    assert gap(one, Obstacle(0.25, 0.2, 0.1).outline(0.001)) == 0.0
    assert gap(one, Obstacle(0.2, 0.2, 0.02).outline(0.001)) == 0.0  # one within the other
    assert inside(np.array([[0.2, 0.2], [0.3, 0.2], [0.2, 0.249]]), one).tolist() == [True, False, True]


@pytest.mark.parametrize("changes", [{"size": 0.0}, {"aspect": -1.0}, {"corners": 2}, {"corners": 40}])
def test_what_is_no_obstacle_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="obstacle"):
        Obstacle(**{"x": 0.2, "y": 0.2, "size": 0.1, **changes})
