"""Obstacles as polygons: ellipses, and regular polygons that are stretched and turned.

    size      extent across the channel before the outline is turned, m
    aspect    extent along the channel over `size`
    corners   0 an ellipse, 3 a triangle that points upstream, 4 a rectangle, ...
    angle     by which it is turned, degrees counter-clockwise

The points lie on the outline, at equal distances along each side, so that a mesh whose edges they are keeps the corners. Points of an
ellipse are pushed out until the polygon has the ellipse's area: then drag converges with the square of their distance, from both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

Points = Float[np.ndarray, "point 2"]


@dataclass(frozen=True)
class Obstacle:
    """One body of a case. Raises ValueError for a size or an aspect that is not positive, and for 1, 2 or broken corners."""

    x: float
    y: float
    size: float
    aspect: float = 1.0
    corners: int = 0
    angle: float = 0.0

    def __post_init__(self) -> None:
        if not (self.size > 0 and self.aspect > 0):
            raise ValueError(f"size and aspect of an obstacle are positive, got {self.size} and {self.aspect}")
        if self.corners != int(self.corners) or (self.corners and not 3 <= self.corners <= 12):
            raise ValueError(f"an obstacle has 0 corners (an ellipse) or 3 to 12, got {self.corners}")

    @property
    def radius(self) -> float:
        """Of the circle about (x, y) that holds it."""
        reach = float(np.hypot(*self._corners().T).max()) if self.corners else max(1.0, self.aspect) / 2
        return self.size * reach

    def outline(self, spacing: float) -> Points:
        """Its polygon counter-clockwise, points about `spacing` apart (at least 12 of them, and 2 a side)."""
        points = self._ellipse(spacing / self.size) if not self.corners else self._sides(spacing / self.size)
        turn = np.deg2rad(self.angle)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        found: Points = self.size * points @ rotation.T + [self.x, self.y]
        return found

    def _ellipse(self, spacing: float) -> Points:
        """Of height 1, at equal arc lengths."""
        fine = np.linspace(0, 2 * np.pi, 4001)
        curve = np.stack([self.aspect * np.cos(fine), np.sin(fine)], 1) / 2
        along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
        count = max(12, round(along[-1] / spacing))
        angle = np.interp(np.arange(count) * along[-1] / count, along, fine)
        points = np.stack([self.aspect * np.cos(angle), np.sin(angle)], 1) / 2
        scaled: Points = points * np.sqrt(np.pi * self.aspect / 4 / area(points))
        return scaled

    def _sides(self, spacing: float) -> Points:
        corners = self._corners()
        sides = zip(corners, np.roll(corners, -1, axis=0), strict=True)
        parts = []
        for start, end in sides:
            count = max(2, round(float(np.hypot(*(end - start))) / spacing))
            parts.append(start + (end - start) * np.arange(count)[:, None] / count)
        return np.concatenate(parts)

    def _corners(self) -> Points:
        """Of height 1 and length `aspect`: an even number has sides across the flow, an odd one a corner upstream."""
        k = int(self.corners)
        angle = np.pi + 2 * np.pi * np.arange(k) / k + (np.pi / k if k % 2 == 0 else 0.0)
        unit = np.stack([np.cos(angle), np.sin(angle)], 1)
        unit /= np.ptp(unit, axis=0)
        found: Points = (unit - (unit.max(0) + unit.min(0)) / 2) * [self.aspect, 1.0]
        return found


def area(points: Points) -> float:
    """The area that a counter-clockwise polygon encloses."""
    x, y = points.T
    return float(0.5 * (x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def inside(points: Points, polygon: Float[np.ndarray, "corner 2"]) -> Bool[np.ndarray, " point"]:
    """Whether each point lies within a polygon: an odd number of its sides crosses the ray to the right."""
    (x, y), a, b = points.T[:, :, None], polygon, np.roll(polygon, -1, axis=0)
    spans = (a[:, 1] > y) != (b[:, 1] > y)
    rise = np.where(b[:, 1] == a[:, 1], 1.0, b[:, 1] - a[:, 1])
    crossing = a[:, 0] + (y - a[:, 1]) / rise * (b[:, 0] - a[:, 0])
    return np.asarray((spans & (x < crossing)).sum(1) % 2 == 1)


def gap(one: Points, other: Float[np.ndarray, "other 2"]) -> float:
    """The least distance between the points of two outlines; 0 where one holds a point of the other."""
    if bool(inside(one, other).any() or inside(other, one).any()):
        return 0.0
    return float(np.hypot(*(one[:, None] - other[None]).transpose(2, 0, 1)).min())
