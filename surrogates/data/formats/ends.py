"""Ends of a Box that are no walls.

The attribute `boundary_conditions` says what they are, as JSON, in the form that `well_space` reads from files of The Well: a name, the
kind (open, inlet, dirichlet, cauchy, no flux, moving wall), the axes and at which of their ends, with the values where they are known.
It is kept by conversion, and `surrogates data info` shows it. Of this a Box knows what laws of conservation and heads of fluxes need:
through which of its ends something passes (`Box.open_ends`). That is all of them that a condition does not close, one that holds a value
among them, since what diffuses passes there too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import xarray as xr

from surrogates.domains import Box, Masked, layout
from surrogates.domains.layout import AnyDomain
from surrogates.interchange import domain_of

CONDITIONS = "boundary_conditions"
CLOSED = ("wall", "periodic")
TIGHT = (*CLOSED, "no flux", "moving wall")


def condition(
    name: str, kind: str, axes: Sequence[str], *, low: bool = False, high: bool = False, fields: Sequence[str] = (), **more: Any
) -> dict[str, Any]:
    """One condition of the lower, the higher or, where neither is said, both ends of each of the axes."""
    ends = [low or not high, high or not low]
    return {"name": name, "kind": kind, "axes": list(axes), "fields": list(fields), "ends": ends, **more}


def told(part: xr.Dataset, conditions: Sequence[Mapping[str, Any]]) -> xr.Dataset:
    """The part with its conditions, of which there may be none, and its ends open where they say so."""
    if not conditions:
        return part
    domain = json.dumps(layout.entry(opened(domain_of(part), conditions)))
    return part.assign_attrs({CONDITIONS: json.dumps(list(conditions)), "domain": domain})


def opened(domain: AnyDomain, conditions: Sequence[Mapping[str, Any]], axes: Sequence[str] = ()) -> AnyDomain:
    """A Box, or the wet part of one, that something passes where the conditions do not close it; `axes` are the names of its axes in them.

    Another domain, whose ends are known by what it is, comes back as it is, and periodic axes stay so.
    """
    if isinstance(domain, Masked):
        box = opened(domain.box, conditions, axes)
        return Masked(box, domain.wet) if isinstance(box, Box) else domain
    if not isinstance(domain, Box):
        return domain
    names = dict(zip(axes or domain.axes, domain.axes, strict=True))
    sides = [
        f"{names[axis]}_{side}"
        for c in conditions
        for axis in c["axes"]
        for side, there in zip(("lower", "upper"), c.get("ends", (True, True)), strict=True)
        if there and c["kind"] not in TIGHT and axis in names
    ]
    return replace(domain, open_ends=tuple(end for end in domain.ends if end in (*domain.open_ends, *sides)))


def shown(part: xr.Dataset) -> str:
    """The ends that a Box does not know, for people: "inlet (x), open (x)"; empty where there are none."""
    try:
        held = json.loads(str(part.attrs.get(CONDITIONS, "[]")))
        return ", ".join(f"{c['kind']} ({', '.join(c['axes'])})" for c in held if c["kind"] not in CLOSED)
    except (ValueError, LookupError, TypeError):
        return str(part.attrs[CONDITIONS])
