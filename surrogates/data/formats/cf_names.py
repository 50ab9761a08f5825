"""Names, units and vectors of a CF file.

A name becomes an identifier by moving a height in front to the end (`2m_temperature` -> `temperature_2m`). Two components are one vector
where the standard names say so (`northward_wind`, `eastward_wind`), or the names differ by u and v alone (`u10`, `v10`; `UWND`, `VWND`;
`u_component_of_wind`, ...), with the same dims and units. Components of a vector on a sphere are northward, then eastward.

Source of the standard names: https://cfconventions.org/Data/cf-standard-names/current/build/cf-standard-name-table.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

EAST = re.compile(r"^(?P<before>|.*_|\d+m_)(?P<u>u)(?P<after>|\d+m?|o|wnd|wind|gos|gosa|_component_of_wind.*|_wind.*|_\d+\w*)$", re.I)
NONE = {"", "-", "~", "(0 - 1)", "none", "dimensionless", "unitless", "fraction"}
"""What files write for a number without units."""


def identifier(name: str) -> str:
    """A name that is one in Python too."""
    moved = re.sub(r"^(\d+\w*?)_(.+)$", r"\2_\1", name)
    plain = re.sub(r"\W+", "_", moved).strip("_")
    return plain if plain.isidentifier() else f"field_{plain}"


def unit_of(attrs: Mapping[str, Any]) -> str | None:
    """The units that a file states; None where it has none."""
    if "units" not in attrs:
        return None
    units = str(attrs["units"]).strip()
    return "1" if units.lower() in NONE else units


def vectors(names: Sequence[str], attrs: Mapping[str, Mapping[str, Any]], dims: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Vectors by name, each with the names of its northward and its eastward component."""
    standard = {str(attrs[n].get("standard_name", "")): n for n in names}
    out: dict[str, tuple[str, str]] = {}
    taken: set[str] = set()
    for name in names:
        found = _by_standard(name, attrs[name], standard) or _by_name(name, names)
        if found is None:
            continue
        vector, north = found
        same = dims[name] == dims[north] and unit_of(attrs[name]) == unit_of(attrs[north])
        if same and not {name, north} & taken and vector not in out and vector not in names:
            out[vector] = (north, name)
            taken |= {name, north}
    return out


def _by_standard(name: str, attrs: Mapping[str, Any], standard: Mapping[str, str]) -> tuple[str, str] | None:
    own = str(attrs.get("standard_name", ""))
    for east, north in (("eastward_", "northward_"), ("x_wind", "y_wind")):
        if own.startswith(east) and own.replace(east, north, 1) in standard:
            vector = own.removeprefix("eastward_").removeprefix("x_")
            digits = re.search(r"\d+$", name)
            return vector + (f"_{digits.group()}" if digits else ""), standard[own.replace(east, north, 1)]
    return None


def _by_name(name: str, names: Sequence[str]) -> tuple[str, str] | None:
    match = EAST.match(name)
    if match is None:
        return None
    at = match.start("u")
    north = name[:at] + ("V" if name[at] == "U" else "v") + name[at + 1 :]
    if north not in names:
        return None
    stem = "wind" if re.search("wi?nd", name, re.I) else "velocity"
    after = re.sub(r"(_component_of)?_?wi?nd", "", match["after"], flags=re.I)
    parts = [match["before"].strip("_"), after.strip("_")]
    return identifier("_".join([stem, *(p for p in parts if p)])), north
