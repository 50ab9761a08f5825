"""report.html: one file that someone who was not there can read. It loads nothing: pictures are data URIs, the style is in the page.

Everything is made from what a run left in its folder (`scores.nc`, `pictures/`, `bench.json`), so a report can be written again without
running anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import xarray as xr

from surrogates.bench import calibration, fields, figures
from surrogates.bench.contenders import ENSEMBLE
from surrogates.bench.page import PAGE, STYLE
from surrogates.bench.run import BENCH, SCORES, load
from surrogates.bench.style import Picture
from surrogates.bench.suite import Solver
from surrogates.bench.summary import names_of, time_units
from surrogates.bench.tables import html, markdown, notes, tables
from surrogates.bench.verdict import verdict
from surrogates.data.parse import parse
from surrogates.interchange import TRAJECTORY

TABLE, REPORT = "table.md", "report.html"


def write_report(folder: str | os.PathLike[str]) -> Path:
    """Write table.md and report.html from a run's folder; returns the page. Raises ValueError where there is no run."""
    path = Path(folder)
    if not (path / SCORES).is_file() or not (path / BENCH).is_file():
        raise ValueError(
            f"{path} holds no finished benchmark: {SCORES} or {BENCH} is missing; `surrogates bench run --out {path}` makes them"
        )
    scores = load(path / SCORES)
    run = json.loads((path / BENCH).read_text())
    _write(path / TABLE, "\n\n".join([f"## {run['suite']['name']}", *verdict(scores), markdown(scores)]))
    _write(path / REPORT, page(scores, run, pictures(path, scores)))
    return path / REPORT


def pictures(path: Path, scores: xr.Dataset) -> dict[str, xr.DataArray]:
    """The stored fields of the truth and of every contender."""
    names = ["truth", *(str(n) for n in scores["contender"].values)]
    return {n: load(path / "pictures" / f"{n}.nc")["picture"] for n in names}


def page(scores: xr.Dataset, run: Mapping[str, Any], shown: Mapping[str, xr.DataArray]) -> str:
    """The whole page."""
    suite, about = run["suite"], run.get("about", {})
    drawn = (
        figures.errors(scores),
        fields.snapshots(scores, shown),
        figures.cost_accuracy(scores),
        calibration.calibration(scores),
        fields.spectra(scores),
        fields.budgets(scores),
    )
    parts = {
        "style": STYLE,
        "title": escape(f"Benchmark {suite['name'] or suite['dataset']}"),
        "subtitle": escape(_subtitle(scores, run)),
        "summary": "".join(f"<p>{escape(sentence)}</p>" for sentence in verdict(scores)),
        "done": _facts(_what_was_done(scores, run)),
        "tables": "".join(html(t) for t in tables(scores)),
        "notes": "".join(f"<li>{escape(n)}</li>" for n in notes(scores)),
        "figures": "".join(_figure(i, p) for i, p in enumerate((p for p in drawn if p), 1)),
        "ensemble": _ensemble(scores, about),
        "environment": _facts(_environment(about)) + _stages(scores, about),
    }
    return PAGE.substitute(parts)


def _subtitle(scores: xr.Dataset, run: Mapping[str, Any]) -> str:
    data = run["data"]
    return (
        f"{data['dataset']}, split {data['split']}: {scores.sizes[TRAJECTORY]} trajectories, {data['frames']} frames of {data['dt']:g} "
        f"{time_units(scores)} from the exact initial state; {scores.sizes['contender']} contenders on one clock."
    )


def _what_was_done(scores: xr.Dataset, run: Mapping[str, Any]) -> dict[str, str]:
    suite, about = run["suite"], run.get("about", {})
    solver = suite["solver"]
    runs = ", ".join(f"{n} ({dt:g})" for n, dt in parse(Solver, solver, BENCH).runs)
    count = len({n.split("-seed")[0] for n in names_of(scores, ENSEMBLE)}) or 1
    return {
        "Data": about.get("data", f"{run['data']['dataset']}, checksum {run['data']['checksum']}"),
        **{f"Model {name}" if len(about.get("models", {})) > 1 else "Model": text for name, text in about.get("models", {}).items()},
        "Forecasts": f"{suite['members']} members, noise seeds {suite['seeds']}, groups of {suite['group']} rows. "
        + ("One training: the table says nothing about the spread between trainings." if count == 1 else f"{count} trainings."),
        "Classical solver": f"{solver['equation']}, pseudo-spectral, {solver['scheme']}, {solver['dtype']}, from the same stored initial "
        f"frame; points an axis (longest substep): {runs}.",
        "Baselines": "persistence (the initial state for ever) and climatology (the mean field of the training split only).",
    }


def _ensemble(scores: xr.Dataset, about: Mapping[str, Any]) -> str:
    if not names_of(scores, ENSEMBLE):
        return "<p>No contender is an ensemble.</p>"
    text = (
        "The initial state is the stored frame itself and is known exactly, so the members' spread stands for <em>model error</em> alone: "
        "what the guess leaves unexplained of a step, and what the stored resolution does not show. It does not stand for uncertainty of "
        "observations. Beyond the first steps chaos amplifies it."
    )
    tried = dict(about.get("calibration", {}))
    trials = _trials(tried.pop("tried", []))
    listed = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(_plain(v))}</dd>" for k, v in tried.items())
    closing = f"<p>What was tried for calibration, from the surrogate's own record:</p><dl>{listed}</dl>{trials}" if tried else ""
    return f"<p>{text}</p>{closing}"


def _trials(tried: Sequence[Mapping[str, Any]]) -> str:
    """What a calibration evaluated, a row each."""
    if not tried:
        return ""
    head = "".join(f"<th>{escape(str(k))}</th>" for k in tried[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(_plain(v))}</td>" for v in t.values()) + "</tr>" for t in tried)
    caption = "<caption>Tried on the validation split; first and last are spread over error at the first and last lead that count</caption>"
    return f'<div class="table narrow"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _environment(about: Mapping[str, Any]) -> dict[str, str]:
    env = about.get("environment", {})
    return {
        "Commit": str(env.get("commit", "unknown")),
        "Versions": _plain(env.get("versions", {})),
        "Machine": _plain(env.get("machine", {})),
        "Threads": _plain(env.get("threads", {})),
        "Command": str(env.get("command", "unknown")),
    }


def _stages(scores: xr.Dataset, about: Mapping[str, Any]) -> str:
    """Wall times: of the stages that led here, where they are known, and of each contender."""
    rows = [(str(k), float(v)) for k, v in about.get("stages", {}).items()]
    rows += [
        (f"forecast and score: {scores['label'].sel(contender=n).values}", float(scores["wall"].sel(contender=n)))
        for n in scores["contender"].values
    ]
    body = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{v:.1f}</td></tr>' for k, v in rows)
    commands = "\n".join(str(c) for c in about.get("commands", []))
    listed = f"<p>The same by hand:</p><pre>{escape(commands)}</pre>" if commands else ""
    return (
        f'{listed}<div class="table narrow"><table><thead><tr><th>stage</th><th>wall s</th></tr></thead><tbody>{body}</tbody></table></div>'
    )


def _facts(facts: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>"


def _figure(number: int, picture: Picture) -> str:
    alt = escape(picture.title, quote=True)
    caption = f"<b>Figure {number}.</b> {escape(picture.caption)}"
    return f'<figure><h3>{escape(picture.title)}</h3><img src="{picture.image}" alt="{alt}"><figcaption>{caption}</figcaption></figure>'


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
