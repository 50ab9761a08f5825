"""Static fields and forcings as context: normalised by training statistics, forcings at both ends of a bundle, saved with the surrogate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from surrogates.contracts import Conditions, Domain
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.known import Known
from surrogates.operators import FNO
from surrogates.saved import load, save
from surrogates.surrogate import Surrogate

BOX = Box.periodic((8,), 2.0)
U, LAND, SUN = Fields.of(Field("u")), Fields.of(Field("height", "m"), Field("mask")), Fields.of(Field("sun", "W m-2"))


def conditions(rows: int = 2) -> Conditions:
    ones = torch.ones(rows, dtype=torch.float64)
    static = torch.arange(float(rows * 2 * 8)).reshape(rows, 2, 8)
    return Conditions(
        BOX, 3 * ones, 0.5 * ones, torch.zeros(rows, 0), static=static, forcing=lambda t: t.float()[:, None, None].expand(-1, 1, 8)
    )


class Sees(torch.nn.Module):
    """An operator that keeps its context and returns zeros."""

    def forward(self, x: Tensor, domain: Domain, embedding: Tensor | None = None) -> Tensor:
        self.seen = x
        return torch.zeros_like(x[:, :2])


def test_context_is_the_state_the_statics_and_the_forcing_at_both_ends_of_the_bundle() -> None:
    operator = Sees()
    surrogate = Surrogate(U, BOX, 0.5, operator=operator, bundle=2, static=LAND, forcings=SUN)
    assert surrogate.known is not None and surrogate.known.channels == 4
    c, past = conditions(), torch.randn(2, 1, 1, 8)
    surrogate(surrogate.begin(past, c), c, None)
    assert c.static is not None
    want = torch.cat([past[:, 0], c.static, torch.full((2, 1, 8), 3.0), torch.full((2, 1, 8), 4.0)], 1)
    assert torch.equal(operator.seen, want)


def test_statistics_make_each_channel_standard_and_leave_a_constant_one_alone() -> None:
    known = Known(LAND, SUN, 1)
    land = torch.randn(5, 2, 8, dtype=torch.float64) * torch.tensor([[30.0], [0.0]]) + torch.tensor([[100.0], [1.0]])
    sun = 340 + 20 * torch.randn(7, 1, 8, dtype=torch.float64)
    known.fit([land[:2], land[2:]], [sun])
    c = replace(conditions(5), static=land.float(), forcing=lambda t: sun[:5].float())
    k = known(c, 1, torch.zeros(5, 1, 8))
    torch.testing.assert_close(k[:, 0].mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(k[:, 0].std(correction=0), torch.tensor(1.0), atol=1e-5, rtol=0)
    assert not k[:, 1].any() and torch.equal(k[:, 2], k[:, 3])


def test_it_is_saved_and_loaded_with_its_statistics(tmp_path: Path) -> None:
    torch.manual_seed(0)
    surrogate = Surrogate(U, BOX, 0.5, operator=FNO(1 + 4, 1, width=4, modes=[2], layers=1), static=LAND, forcings=SUN).eval()
    assert surrogate.known is not None
    surrogate.known.fit([conditions().static], [torch.randn(3, 1, 8)])  # type: ignore[list-item]
    again = load(save(surrogate, tmp_path / "s"))
    c, past = conditions(), torch.randn(2, 1, 1, 8)
    one, other = (s(s.begin(past, c), c, None)[0] for s in (surrogate, again))
    assert torch.equal(one, other)
    different = surrogate(surrogate.begin(past, c), replace(c, static=c.static + 1), None)[0]  # type: ignore[operator]
    assert not torch.equal(one, different)


def test_rows_do_not_see_each_others_statics() -> None:
    surrogate = Surrogate(U, BOX, 0.5, operator=FNO(1 + 2, 1, width=4, modes=[2], layers=1), static=LAND)
    c, past, last = conditions(), torch.randn(2, 1, 1, 8), torch.tensor([1])
    whole, alone = (surrogate(surrogate.begin(p, k), k, None)[0] for p, k in ((past, c), (past[last], c.rows(last))))
    torch.testing.assert_close(whole[last], alone)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"static": None}, r"takes the static fields \('height', 'mask'\) but the conditions have none"),
        ({"forcing": None}, "takes the forcing fields"),
        ({"static": torch.zeros(2, 3, 8)}, r"shape \(2, 3, 8\) but this surrogate takes \(B, 2, 8\)"),
        ({"forcing": lambda t: torch.zeros(2, 1, 7)}, r"shape \(2, 1, 7\)"),
    ],
    ids=["static", "forcing", "channels", "grid"],
)
def test_what_is_missing_or_of_another_shape_is_named(change: dict[str, Any], words: str) -> None:
    surrogate = Surrogate(U, BOX, 0.5, operator=Sees(), static=LAND, forcings=SUN)
    c = replace(conditions(), **change)
    with pytest.raises(ValueError, match=words):
        surrogate(surrogate.begin(torch.zeros(2, 1, 1, 8), c), c, None)
