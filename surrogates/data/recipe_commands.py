"""What `surrogates data list | make` do, for recipes of every kind."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from surrogates import catalog
from surrogates.data import kinds
from surrogates.data.layout import MEMBERS, PART
from surrogates.data.recipe import Recipe


def list_datasets() -> None:
    """The data sets that recipes declare, with their equations, their sizes, and which of these have been made."""
    table = Table(title=f"data root: {catalog.data_root()}", padding=(0, 0))
    for head, width in (
        ("data set and equation", 23),
        ("size", 5),
        ("made", 10),
        ("frames", 6),
        ("grid", 11),
        ("train / valid / test", 17),
    ):
        table.add_column(head, width=width, overflow="fold")  # 79 together
    for name in catalog.names("datasets"):
        for n, size in enumerate(kinds.sizes(name)):
            recipe = kinds.load(name, size)
            equation, frames, grid = (recipe.summary[k] for k in ("equation", "frames", "grid"))
            table.add_row(_first_column(n, name, equation), size, _state(name, size), frames, grid, _counts(recipe))
    Console().print(table)


def _first_column(row: int, name: str, equation: str) -> str:
    """The name beside the first size, and what it solves beside the second, where that is another word."""
    return name if row == 0 else f"  [dim]{equation}[/dim]" if row == 1 and equation != name else ""


def make(
    name: str,
    size: str | None = None,
    out: str | None = None,
    workers: int | None = None,
    device: str = "cpu",
    scheduler: str | None = None,
) -> None:
    """Make a data set from its recipe; stopped at any moment, the same command resumes it.

    Args:
        name: a data set that `surrogates data list` shows, or the path of a recipe.yaml.
        size: tiny, small or full (default: small where the recipe declares it, else full).
        out: the folder to write to (default: <data root>/<name>/<size>).
        workers: how many groups of trajectories, or cases, are advanced at once (default: the cores at hand).
        device: where an equation is advanced, such as cpu or cuda.
        scheduler: "local", or the address of a dask scheduler: groups then run in other processes, which write to the same folder.
    """
    from surrogates.data.commands import info

    folder = kinds.make(name, size, out, workers=workers, device=device, scheduler=scheduler)
    info(str(folder))


def _counts(recipe: Recipe | kinds.Made) -> str:
    members = recipe.members_of(MEMBERS) if isinstance(recipe, Recipe) else 1
    return " / ".join(f"{n} x {members}" if s == MEMBERS else str(n) for s, n in recipe.counts.items())


def _state(name: str, size: str) -> str:
    folder = catalog.data_root() / name / size
    if not (folder / "data").is_dir():
        return ""
    return "unfinished" if any(folder.glob(f"data/*/*{PART}")) else "yes"
