"""Every frame of a data set looked at once, block by block: what is wrong is an error that names its place, what is notable a note.

error   times that do not rise, values that are not finite (but for NaN where the data declare gaps, and in dry cells), frames that nobody
        wrote (`sound`), a frame of the training split in another one (`leakage`)
note    frames that begin at rest, frames equal to the one before, missing frames and steps, the drift of integrals that should stand still,
        sqrt(<(div u)^2> / <|grad u|^2>) of `velocity` on a periodic box
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from surrogates.data.formats import checks
from surrogates.data.leakage import NOTHING, Place, duplicates, hashes, wet_of
from surrogates.data.sample import Frame, frames_of, one_member
from surrogates.data.sound import check_written
from surrogates.data.source import Piece, Source
from surrogates.data.starts import goes_on
from surrogates.data.written import BLOCK, channels
from surrogates.domains import Box
from surrogates.errors import nearest
from surrogates.interchange import GAPS, MEMBER, NAN, TIME, TRAJECTORY, domain_of, fields_of, times_of, trajectories_of

TRAIN, VELOCITY, SAMPLED = "train", "velocity", 16
MEMBERS = "members"


@dataclass
class Findings:
    """Of one part: its notes, the hashes (R, T) of its frames, and the drift of integrals by channel."""

    hashes: NDArray[np.uint64]
    repeated: int = 0
    resting: int = 0
    missing: int = 0
    jumps: int = 0
    drift: dict[str, float] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """In words, none where there is nothing to say."""
        out = [f"{self.repeated} frames equal to the one before"] if self.repeated else []
        out += [f"{self.resting} frames are constant over all space, before any that varies"] if self.resting else []
        out += [f"{self.missing} of {self.hashes.size} frames are missing"] if self.missing else []
        out += [f"{self.jumps} steps in time are missing"] if self.jumps else []
        return out + [f"the integral of {name} drifts by {value:.2g} of that of |{name}|" for name, value in self.drift.items()]


def audit(source: Source, conserved: Sequence[str] = ()) -> Iterator[tuple[str, Piece, list[str]]]:
    """Every part with its split and notes, one after the other; last of all the splits are compared.

    `conserved` are channels whose integrals should stand still. Raises ValueError for the first thing that is wrong.
    """
    found: dict[str, list[NDArray[np.uint64]]] = {}
    for split, pieces in source.splits.items():
        for piece in pieces:
            f = audit_part(piece.dataset, piece.label, conserved)
            found.setdefault(split, []).append(f.hashes)
            yield split, piece, [*f.notes(), *_divergence(piece.dataset)]
    for d in duplicates({s: h for s, h in found.items() if s != MEMBERS}, {s: [p.dataset for p in ps] for s, ps in source.splits.items()}):
        one, other = (_said(source, split, place) for split, place in zip(d.splits, d.places, strict=True))
        if TRAIN in d.splits:
            raise ValueError(
                f"{d.count} frames of split {d.splits[1]!r} are in split {d.splits[0]!r} too, the first: {other} is {one}; what a model is "
                "trained on cannot test it: split again, by trajectory or with a gap in time"
            )
        yield d.splits[1], source.splits[d.splits[1]][d.places[1].part], [f"{d.count} frames are also in {d.splits[0]!r}: {other} is {one}"]


def audit_part(dataset: xr.Dataset, label: str, conserved: Sequence[str] = ()) -> Findings:
    """One part, every value of it. Raises ValueError for what is wrong, naming trajectory, time and channel."""
    fields, domain = fields_of(dataset), domain_of(dataset)
    unknown = [name for name in conserved if name not in fields.channels]
    if unknown:
        raise ValueError(f"{label} has no channel {unknown[0]!r} among {fields.channels}{nearest(unknown[0], fields.channels)}")
    times = checks.rising(times_of(dataset), f"{label}: time")
    ids, rows = trajectories_of(dataset), int(dataset.sizes.get(TRAJECTORY, 1))
    out = Findings(np.zeros((rows, len(times)), np.uint64))
    if "dt" in dataset.attrs and len(times) > 1:
        out.jumps = int((~goes_on(times, float(dataset.attrs["dt"]))).sum())
    wet, chosen = wet_of(dataset), [fields.channels.index(name) for name in conserved]
    for member in range(int(dataset.sizes.get(MEMBER, 1))):
        whole = dataset.isel({MEMBER: member}) if MEMBER in dataset.dims else one_member(dataset)
        for row in range(rows):
            integrals, last = [], None
            flat, lost, here = np.zeros(len(times), bool), np.zeros(len(times), bool), f"{label}: trajectory {ids[row]}"
            for start, u in blocks(whole.isel({TRAJECTORY: row})):
                gone = _missing(u, wet, dataset)
                filled = u if wet is None else np.where(wet, u, np.float32(0))
                span = slice(start, start + len(u))
                flat[span], lost[span] = _flat(u if wet is None else u[:, :, wet], gone, start, times, here, fields.channels), gone
                own = hashes(u, wet)
                if member == 0:
                    out.hashes[row, span] = np.where(flat[span], np.uint64(NOTHING), own)  # all flows begin at the same rest
                before = own if last is None else np.concatenate([[last], own])
                out.repeated += int(((before[1:] == before[:-1]) & (before[1:] != NOTHING)).sum())
                out.missing += int(gone.sum())
                last = own[-1]
                if chosen:
                    v = torch.from_numpy(np.ascontiguousarray(filled[~gone][:, chosen]))
                    integrals.append(torch.stack([domain.integral(v), domain.integral(v.abs())], 1).numpy())
            check_written(flat, lost, here, times)
            out.resting += int((flat & ~lost).sum())
            if chosen:
                _drifts(out, np.concatenate(integrals), conserved)
    return out


def blocks(one: xr.Dataset) -> Iterator[tuple[int, Frame]]:
    """The frames (N, C, *X) of one trajectory in blocks that fit into memory, with the number of the first."""
    fields, total = fields_of(one), int(one.sizes[TIME])
    frame = 4 * fields.count * int(np.prod(domain_of(one).shape))
    count = max(1, BLOCK // max(1, frame))
    for start in range(0, total, count):
        yield start, channels(one.isel({TIME: slice(start, start + count)}), fields, (TIME,))


def _missing(u: Frame, wet: NDArray[np.bool_] | None, dataset: xr.Dataset) -> NDArray[np.bool_]:
    """Which frames (T,) lack a value, in data that may."""
    if dataset.attrs.get(GAPS) != NAN:
        return np.zeros(len(u), bool)
    nan = np.isnan(u) if wet is None else np.isnan(u) & wet
    return np.asarray(nan.reshape(len(u), -1).any(1))


def _flat(
    u: Frame, gone: NDArray[np.bool_], start: int, times: NDArray[np.float64], label: str, channels: Sequence[str]
) -> NDArray[np.bool_]:
    """Which frames of a block are flat in every channel. Raises ValueError for the first not finite; `gone` ones may lack values."""
    flat = u.reshape(*u.shape[:2], -1)
    low, high = flat.min(-1), flat.max(-1)
    wrong = ~np.isfinite(low + high) & ~gone[:, None]
    if wrong.any():
        t = int(wrong.any(1).argmax())
        names = [c for c, bad in zip(channels, wrong[t], strict=True) if bad]
        where = f"at time {times[start + t]:g} (frame {start + t}), channels {names}"
        raise ValueError(f'{label} has values that are not finite {where}; where NaN means missing, say so: attrs["{GAPS}"] = "{NAN}"')
    return np.asarray((low == high).all(1))


def _drifts(out: Findings, integrals: NDArray[np.float64], names: Sequence[str]) -> None:
    """The largest change of the integrals (T, 2, C) of u and |u| since the first frame, of the former over the most of the latter."""
    for n, name in enumerate(names):
        values, sizes = integrals[:, 0, n], integrals[:, 1, n]
        if len(values):
            size = float(sizes.max()) or 1.0
            out.drift[name] = max(out.drift.get(name, 0.0), float(np.abs(values - values[0]).max()) / size)


def _divergence(dataset: xr.Dataset) -> list[str]:
    domain, fields = domain_of(dataset), fields_of(dataset)
    known = [f for f in fields if f.name == VELOCITY and len(f.components) == domain.dim and not f.levels]
    if not known or not isinstance(domain, Box) or not domain.all_periodic or domain.dim < 2:
        return []
    u = torch.stack([torch.from_numpy(f) for _, f in frames_of([dataset], SAMPLED)])[:, fields.slice(VELOCITY)].double()
    if not u.isfinite().all():
        return []
    slopes = [domain.derivative(u, axis) for axis in range(domain.dim)]
    total = torch.stack([domain.integral(slope.square()).sum(1) for slope in slopes]).sum(0)
    defect = (domain.integral(domain.divergence(u).square())[:, 0] / total.clamp_min(torch.finfo(torch.float64).tiny)).sqrt()
    return [f"the divergence of {VELOCITY} is {float(defect.max()):.2g} of its gradient (most of {len(u)} sampled frames)"]


def _said(source: Source, split: str, place: Place) -> str:
    piece = source.splits[split][place.part]
    return f"{piece.label}, trajectory {trajectories_of(piece.dataset)[place.row]}, frame {place.frame}"
