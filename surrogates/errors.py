"""What errors have in common: the nearest name to the one that was not found, and devices that are not there."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or nothing where no known name is near."""
    match = get_close_matches(str(name), [str(k) for k in known], n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def check_device(name: str) -> None:
    """Raise ValueError unless torch can compute on the device `name` here."""
    import torch  # late: the command line is quick without

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        here = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
        why = str(error).partition("\n")[0]
        raise ValueError(f"nothing can be computed on the device {name!r} ({why}); it can be on {', '.join(here)}") from error
