"""The factors of the limiter, by hand on three cells."""

from __future__ import annotations

import torch

from surrogates.domains import Box
from surrogates.heads.faces import faces
from surrogates.heads.limiter import limited


def test_a_cell_shares_what_it_has_among_those_it_gives_to() -> None:
    """Cells of width 1 with 1, 3 and 0.5 in them; dt = 1. The second gives 4 to the left and 2 to the right: both are halved."""
    between = faces(Box((3,), (0.0,), (3.0,), ("wall",)), torch.device("cpu"))
    F = torch.tensor([-4.0, 2.0, 0.0], dtype=torch.float64)[None, None, None]
    u, dt = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)[None, None], torch.ones(1, 1, 3, dtype=torch.float64)
    torch.testing.assert_close(limited(F, u, between, dt, 0.0, None).flatten(), torch.tensor([-2.0, 1.0, 0.0], dtype=torch.float64))
    # up to 1.6, the first may take 0.6 and the third 1.1: that of the third is not reached by the half it is given
    torch.testing.assert_close(limited(F, u, between, dt, 0.0, 1.6).flatten(), torch.tensor([-0.6, 1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(limited(F, u, between, dt, None, None), F, rtol=0, atol=0)


def test_what_comes_in_is_not_counted_on() -> None:
    """A cell that gets 5 and has 1 gives 1, not 6: its giver may be limited too."""
    between = faces(Box((3,), (0.0,), (3.0,), ("wall",)), torch.device("cpu"))
    F = torch.tensor([5.0, 6.0, 0.0], dtype=torch.float64)[None, None, None]
    u, dt = torch.tensor([5.0, 1.0, 0.0], dtype=torch.float64)[None, None], torch.ones(1, 1, 3, dtype=torch.float64)
    torch.testing.assert_close(limited(F, u, between, dt, 0.0, None).flatten(), torch.tensor([5.0, 1.0, 0.0], dtype=torch.float64))
