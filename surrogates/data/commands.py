"""What `surrogates data info | check` do: functions that print with rich and return nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from surrogates.data.audit import audit, audit_part
from surrogates.data.formats.given import Given
from surrogates.data.read import read_file
from surrogates.data.sample import sample_of
from surrogates.data.source import source_of
from surrogates.data.summary import COLUMNS, facts, facts_of, rows_of, told

__all__ = ["check", "check_file", "facts", "info"]


def info(name_or_path: str, size: str | None = None, html: str | None = None, format: str | None = None, given: str | None = None) -> None:
    """Describe a data set: fields, grid, times, splits, parameters; ranges, means, deviations and spectra from a sample of frames.

    Args:
        name_or_path: the name of a data set that was made, or the path of a file or folder in any format that is read.
        size: which of the sizes that were made (default: the largest).
        html: write a card with pictures and a film to this file, too.
        format: the format, where it is not to be found from the files.
        given: what the files do not say, as '{dt: 0.1, lengths: [1, 2]}' or in a YAML file; goes before source.yaml beside them.
    """
    known = Given.told(given) if given is not None else None
    source = source_of(name_or_path, size, format=format, given=known, partial=True)
    console = Console()
    table = Table(Column(no_wrap=True), Column(overflow="fold"), show_header=False, title=str(source.path))
    for key, value in facts_of(source).items():
        table.add_row(key, escape(value))  # units stand in brackets, which rich would read as a style
    console.print(table)
    sample = sample_of([p.dataset for p in source.splits[source.described]])
    console.print(_numbers(rows_of(sample), told(sample, source.described)))
    if html is not None:
        from surrogates.data.card import write_card

        console.print(f"card: {write_card(source, Path(html).expanduser())}", highlight=False, soft_wrap=True)


def check(
    name_or_path: str, size: str | None = None, conserved: str | None = None, format: str | None = None, given: str | None = None
) -> None:
    """Verify a data set: checksums, times, values that are not finite, flat frames, frames of the training split in another one.

    Also told: frames that repeat the one before, gaps, the divergence of `velocity` on a periodic box, the drift of integrals.
    It ends with an error (ValueError) at the first thing that is not sound.

    Args:
        name_or_path: the name of a data set that was made, or the path of a file or folder in any format that is read.
        size: which of the sizes that were made (default: the largest).
        conserved: channels whose integrals over space should stand still, such as height,tracer.
        format: the format, where it is not to be found from the files.
        given: what the files do not say, as '{dt: 0.1, lengths: [1, 2]}' or in a YAML file; goes before source.yaml beside them.
    """
    console = Console()
    known = Given.told(given) if given is not None else None
    source = source_of(name_or_path, size, format=format, given=known, verify=True)
    names = [name.strip() for name in (conserved or "").split(",") if name.strip()]
    for split, piece, notes in audit(source, names):
        console.print(f"{split}: {piece.label} is sound{''.join(f', {n}' for n in notes)}", markup=False, highlight=False, soft_wrap=True)


def _numbers(rows: Sequence[tuple[str, ...]], caption: str) -> Table:
    """A table whose names break and whose numbers do not, without columns that say nothing: it is to be read at 80 characters, too."""
    table, shown = Table(caption=caption, caption_justify="left", padding=(0, 0)), [any(cells) for cells in zip(*rows, strict=True)]
    for name, some in zip(COLUMNS, shown, strict=True):
        if some:
            table.add_column(name, no_wrap=name not in COLUMNS[:2], overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell, some in zip(row, shown, strict=True) if some))
    return table


def check_file(path: Path) -> int:
    """Read every value of a file; returns how many frames repeat the one before. Raises ValueError where it is not sound."""
    return audit_part(read_file(path, verify=True), str(path)).repeated
