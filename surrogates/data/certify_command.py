"""`surrogates data certify NAME_OR_PATH`: for how long the truth of a data set that was made is the truth (t*).

an equation      is certified as it is made, by what its recipe says of it, and the files hold the answer: it is told
cases            one test case is solved again, finer, and `certificate.json` beside `data/` holds the answer (`cases.certificate`)
anything else    was solved, or measured, by others: nothing here can solve it again
"""

from __future__ import annotations

import json
from pathlib import Path

from surrogates.data.cases import programs, stopping
from surrogates.data.cases.certificate import certify, checked_leads, read_certificate
from surrogates.data.cases.keep import recipe_in
from surrogates.data.cases.recipe import KIND, CaseRecipe
from surrogates.data.files import files_of, locate
from surrogates.data.parse import parse
from surrogates.data.summary import facts
from surrogates.data.workers import locked


def certify_command(name_or_path: str, time: float | None = None, size: str | None = None) -> None:
    """Work out for how long the truth of a data set made by OpenFOAM is the truth, or tell it where that is known already.

    One test case is solved again at half the Courant number, and on edges of half the length, some fifteen times the work of the window;
    t* goes into certificate.json in the folder. Stopped, the same command goes on with the run that had not ended. Equations are certified
    when they are made; what their files say is told.

    Args:
        name_or_path: the name of a data set that was made, or the path of its folder.
        time: over how many seconds from the first frame a test case is solved again.
        size: which of the sizes that were made (default: the largest).
    """
    folder = locate(name_or_path, size)
    if folder.is_file():
        raise ValueError(f"{folder} is a file, and a certificate is that of a data set; give the folder that holds data/")
    first = next(p for paths in files_of(folder).values() for p in paths)
    said = json.loads(recipe_in(first) or "{}")
    if said.get("kind") == KIND:
        certify_cases(parse(CaseRecipe, said, f"{first}: recipe"), folder, time)
    elif "equation" not in said:
        raise ValueError(f"{folder} was not made from an equation or from cases: what was converted or observed cannot be solved again")
    elif time is not None:
        raise ValueError(f"{folder} was certified as it was made, over the `certificate.time` of its recipe; leave --time out to see it")
    print(f"{folder}: t* = {facts(folder).get('scored time', 'not known: the data set is not finished')}")


def certify_cases(recipe: CaseRecipe, folder: Path, time: float | None) -> None:
    """Solve again what is not known yet. Raises ValueError as `certify`, and FileNotFoundError where OpenFOAM is missing."""
    step, known = recipe.frames.step, read_certificate(folder)
    leads = checked_leads(recipe, step if time is None else time)
    if known and (time is None or round(known["checked_time"] / step) == leads):
        return
    if time is None:
        span = (recipe.frames.count - 1) * step
        raise ValueError(f"{folder} has no certificate yet; say over how many seconds, from {step:g} to {span:g}: --time {10 * step:g}")
    programs.need(recipe.made.programs)
    with locked(folder), stopping.ended_by_signals():
        certify(recipe, folder, time, quiet=False)
        scratch = folder / "scratch"
        if scratch.is_dir() and not any(scratch.iterdir()):
            scratch.rmdir()
