"""card.html of a data set: one file that loads nothing, with facts, statistics, a frame of every channel, series, spectra and a film.

Pictures are data URIs. Numbers come from the sample that the table tells of; series and film from the first trajectory of the split
that is described.
"""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from string import Template

import numpy as np
import xarray as xr

from surrogates.data import card_figures as figures
from surrogates.data.animate import gif
from surrogates.data.card_figures import drawn, even
from surrogates.data.sample import one_member, sample_of
from surrogates.data.source import Source
from surrogates.data.summary import COLUMNS, facts_of, rows_of, told
from surrogates.data.written import channels
from surrogates.interchange import TIME, TRAJECTORY, domain_of, fields_of, times_of

FILM = 40  # frames
PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>$title</title>
<style>
body { margin: 0 auto; max-width: 1020px; padding: 32px 24px 64px; color: #1c1c1e; font: 15px/1.5 "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 27px; margin: 0 0 16px; } h2 { font-size: 19px; margin: 36px 0 10px; border-top: 2px solid; padding-top: 10px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 5px 20px; margin: 0; } dt { color: #5d6068; }
dd { margin: 0; overflow-wrap: anywhere; } .table { overflow-x: auto; } p { color: #5d6068; max-width: 90ch; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: 4px 8px; text-align: right; border-bottom: 1px solid #dcdfe4; white-space: nowrap; }
th { color: #5d6068; font-weight: 500; }
th:first-child, td:first-child { text-align: left; } img { display: block; max-width: 100%; height: auto; }
</style></head><body><h1>$title</h1><dl>$facts</dl>
<h2>Channels</h2><p>$told</p><div class="table"><table>$table</table></div>$pictures</body></html>
""")


def card(source: Source) -> str:
    """The page. Raises ImportError where matplotlib is missing, with the line that installs it."""
    facts = facts_of(source)
    parts = [p.dataset for p in source.splits[source.described]]
    sample, first = sample_of(parts), one_member(parts[0]).isel({TRAJECTORY: 0})
    sections = [
        ("A frame of every channel", "In the middle of the first trajectory.", drawn(lambda plt: figures.frames(plt, first))),
        ("Over time", "Mean (blue) and root mean square (grey) of the first trajectory.", drawn(lambda plt: figures.series(plt, first))),
        ("Values", "How often they occur in the sampled frames, on a log scale.", drawn(lambda plt: figures.histograms(plt, sample))),
    ]
    if any(sample.spectrum(c) for c in range(sample.fields.count)):
        power = drawn(lambda plt: figures.spectra(plt, sample))
        sections.append(("Spectra", "Power over wavenumber, averaged over the sampled frames.", power))
    sections.append(("Film", f"{fields_of(first).channels[0]} of the first trajectory.", film(first)))
    pictures = "".join(f'<h2>{h}</h2><p>{escape(p)}</p><img alt="{h}" src="{_uri(content)}">' for h, p, content in sections)
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(v)}</td>' for v in row)}</tr>" for row in rows_of(sample))
    return PAGE.substitute(
        title=escape(facts["data set"]),
        facts="".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()),
        told=escape(told(sample, source.described)),
        table=f"<tr>{head}</tr>{rows}",
        pictures=pictures,
    )


def write_card(source: Source, path: Path) -> Path:
    """Write the page to `path`, which is returned."""
    text = card(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def film(one: xr.Dataset, most: int = FILM) -> bytes:
    """A GIF of the first channel of one trajectory."""
    chosen = one.isel({TIME: even(one.sizes[TIME], most)})
    u = np.concatenate([channels(chosen.isel({TIME: [n]}), fields_of(one), (TIME,))[:, 0] for n in range(chosen.sizes[TIME])])
    return gif(u, domain_of(one), [f"t = {t:.6g}" for t in times_of(chosen)])


def _uri(content: bytes) -> str:
    kind = "gif" if content.startswith(b"GIF") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
