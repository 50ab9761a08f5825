"""One hand for all figures: a colour a contender, the same in each; labels at the lines; no frames, no legends where a label will do.

Colours are those of Okabe and Ito (2008), told apart by colour-blind readers; solvers share one hue, darker with resolution. The
truth is black, baselines are grey.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from surrogates.bench.contenders import CLIMATOLOGY, ENSEMBLE, GUESS, PERSISTENCE, SOLVER
from surrogates.bench.summary import at_equal_cost, names_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUTH, INK, FAINT = "#000000", "#333333", "#8a8a8a"
ENSEMBLES = ("#0072b2", "#cc79a7", "#6a51a3")
GUESSES = ("#009e73", "#56b4e9", "#999933")
ORANGES = ("#f0b27a", "#993404")
WIDTH = 9.6  # inches; the page shows figures at this width or smaller

RC: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.solid_capstyle": "round",
    "svg.hashsalt": "surrogates",
    "svg.fonttype": "path",
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Picture:
    """A figure of the report: its heading, an image as a data URI, and a caption of one or two sentences."""

    title: str
    image: str
    caption: str


@dataclass(frozen=True)
class Line:
    """How a contender is drawn; `band` where its range over trajectories is shown too."""

    name: str
    label: str
    colour: str
    width: float
    band: bool = False
    dashes: Any = "-"
    order: int = 3


def lines(scores: xr.Dataset) -> list[Line]:
    """Every contender's line, background first."""
    shown = {n: str(scores["label"].sel(contender=n).values) for n in names_of(scores)}
    solvers = names_of(scores, SOLVER)
    near = {at_equal_cost(scores, n)[0] for n in names_of(scores, ENSEMBLE, GUESS)[:1]}
    shades = _shades(len(solvers))
    out = [Line(n, shown[n], FAINT, 1.2, dashes=(0, (1, 1.5)), order=1) for n in names_of(scores, CLIMATOLOGY)]
    out += [Line(n, shown[n], FAINT, 1.4, order=1) for n in names_of(scores, PERSISTENCE)]
    for n, shade in zip(solvers, shades, strict=True):
        out.append(Line(n, shown[n], shade, 2.2 if n in near else 1.0, n in near, order=4 if n in near else 2))
    out += [Line(n, shown[n], GUESSES[i % len(GUESSES)], 1.8, order=5) for i, n in enumerate(names_of(scores, GUESS))]
    out += [Line(n, shown[n], ENSEMBLES[i % len(ENSEMBLES)], 2.4, True, order=6) for i, n in enumerate(names_of(scores, ENSEMBLE))]
    return out


def main_lines(scores: xr.Dataset) -> list[Line]:
    """Those that a crowded figure keeps: surrogates and the solver at equal cost."""
    kept = {ENSEMBLE, GUESS}
    return [line for line in lines(scores) if str(scores["kind"].sel(contender=line.name).values) in kept or (line.width > 2 and line.band)]


def ink(colour: str) -> str:
    """The colour dark enough for text on white."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    dark = rgb * min(1.0, 120 / max(1.0, float(rgb @ [0.3, 0.59, 0.11])))
    return "#" + "".join(f"{round(float(v)):02x}" for v in dark)


@contextmanager
def drawing() -> Iterator[Any]:
    """pyplot in the style of the report, on no screen. Raises ImportError with the line that installs matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install matplotlib") from error
    with plt.rc_context(RC):
        yield plt


def encoded(figure: Figure, kind: str = "svg") -> str:
    """A data URI of the figure, which is closed."""
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    extra: dict[str, Any] = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": 170}
    figure.savefig(buffer, format=kind, **extra)
    plt.close(figure)
    mime = {"svg": "image/svg+xml", "png": "image/png"}[kind]
    return f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _shades(count: int) -> list[str]:
    """From light to dark orange."""
    a, b = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in ORANGES)
    rgb = [a + (b - a) * (i / max(1, count - 1)) for i in range(count)]
    return ["#" + "".join(f"{round(float(v)):02x}" for v in colour) for colour in rgb]
