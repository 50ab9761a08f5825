"""What a solver says of a run: its log, the forces on bodies, the flow through patches, and what follows from them.

    postProcessing/force_<body>/0/force.dat           time (total) (pressure) (viscous), newtons over the density
    postProcessing/flow_<patch>/0/surfaceFieldValue.dat   time, m3/s

The Strouhal number is that of the lift about its mean: the mean time between its rising zeros (each interpolated), over `size`/`speed`.
Drag and lift coefficients are 2 F / (speed^2 size) of a force per depth and density.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

Histories = dict[str, NDArray[np.float64]]
"""Tables by name, with "time" among them."""
COURANT = re.compile(r"^Courant Number mean: \S+ max: (\S+)", re.M)
STEP = re.compile(r"^Time = (\S+)", re.M)
PRESSURE = re.compile(r"Solving for p\w*, Initial residual = (\S+), Final residual = (\S+),")
CONTINUITY = re.compile(r"continuity errors : sum local = (\S+),")
SECONDS = re.compile(r"ExecutionTime = (\S+) s")
QUIET = 1e-3  # a lift whose coefficient stays within this of its mean is steady, and has no frequency


@dataclass(frozen=True)
class Log:
    """What a run did from a time on: its largest Courant number, and residual and continuity error after the last correction of a step."""

    steps: int
    courant: float
    residual: float
    continuity: float
    seconds: float


def read_log(text: str, since: float = 0.0) -> Log:
    """Raises ValueError for a log without time steps."""
    steps, courants = list(STEP.finditer(text)), list(COURANT.finditer(text))
    if not steps:
        raise ValueError("the solver's log has no time step")
    said = np.array([m.start() for m in courants])
    courant, residual, continuity, count = 0.0, 0.0, 0.0, 0
    for step, end in zip(steps, [*(m.start() for m in steps[1:]), len(text)], strict=True):
        if float(step[1]) <= since:
            continue
        before = int(np.searchsorted(said, step.start()))  # a Courant number is told before its step is taken
        courant = max(courant, float(courants[before - 1][1]) if before else 0.0)
        body = text[step.start() : end]
        residual = max(residual, *_last(PRESSURE, 2, body))
        continuity = max(continuity, *_last(CONTINUITY, 1, body))
        count += 1
    seconds = SECONDS.findall(text)
    return Log(count, courant, residual, continuity, float(seconds[-1]) if seconds else 0.0)


def forces(case: Path, bodies: Sequence[str], depth: float) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, "step body part 2"]]:
    """Times (s), and the pressure and viscous parts of the force on each body per depth and density, (x, y) in m3 s-2."""
    tables = [_table(case / f"postProcessing/force_{body}/0/force.dat", 10) for body in bodies]
    parts = [np.stack([t[:, 4:6], t[:, 7:9]], 1) / depth for t in tables]
    return tables[0][:, 0], np.stack(parts, 1)


def flow(case: Path, patch: str) -> Float[np.ndarray, "step 2"]:
    """Times (s) and what leaves through a patch, m3/s."""
    return _table(case / f"postProcessing/flow_{patch}/0/surfaceFieldValue.dat", 2)


def strouhal(times: Float[np.ndarray, " step"], lift: Float[np.ndarray, " step"], size: float, speed: float) -> float:
    """Of a lift coefficient; NaN where it is steady or has fewer than three rising zeros."""
    swing = lift - lift.mean()
    (up,) = np.nonzero((swing[:-1] < 0) & (swing[1:] >= 0))
    if len(up) < 3 or np.abs(swing).max() < QUIET:
        return float("nan")
    zeros = times[up] - swing[up] * (times[up + 1] - times[up]) / (swing[up + 1] - swing[up])
    return float((len(zeros) - 1) / (zeros[-1] - zeros[0]) * size / speed)


def _last(pattern: re.Pattern[str], group: int, text: str) -> tuple[float, ...]:
    """What the pattern found last, and 0."""
    return (0.0, *(float(m[group]) for m in [*pattern.finditer(text)][-1:]))


def _table(path: Path, columns: int) -> Float[np.ndarray, "step column"]:
    """Numbers of a file of a function object, brackets left out. Raises ValueError where it has another form."""
    rows = [line.replace("(", " ").replace(")", " ").split() for line in path.read_text(encoding="ascii").splitlines() if line[:1] != "#"]
    if not rows or any(len(r) != columns for r in rows):
        raise ValueError(f"{path}: expected lines of {columns} numbers, got {len(rows)} lines; was the run killed?")
    return np.array(rows, np.float64)
