"""Fair CRPS, energy score, spread-skill and ranks: by hand, beside `scoringrules`, and in expectation under a known law."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.metrics import NRMSE, EnergyScore, FairCRPS, RankHistogram, SpreadSkill

ONE = Fields.of(Field("u"))
FLOW = Fields.of(Field("velocity", "1", ("x", "y")))
LINE = Box.periodic((1,), 1.0)
Values = Callable[..., dict[str, torch.Tensor]]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def members(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[None, :, None, None, None]


def truth(value: float) -> torch.Tensor:
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64)


def test_by_hand(values: Values) -> None:
    """Members 0, 1, 5 and truth 2: E|X - y| = 2; pairs 1, 5, 4: half their mean 5 / 3; mean 2; s^2 = 7; rank 2."""
    x, y = members(5, 0, 1), truth(2)
    assert values(FairCRPS(), x, y, LINE)["crps"].item() == pytest.approx(2 - 5 / 3)
    assert values(EnergyScore(ONE), x, y, LINE)["energy_score"].item() == pytest.approx(2 - 5 / 3)
    found = values(SpreadSkill(), x, truth(3), LINE)
    assert [found[n].item() for n in ("spread", "skill", "spread_skill")] == pytest.approx([7**0.5, 1, (4 / 3 * 7) ** 0.5])
    assert values(RankHistogram(), x, y, LINE)["rank_histogram"].flatten().tolist() == [0, 0, 1, 0]


def test_members_that_equal_the_truth_share_its_mass(values: Values) -> None:
    found = values(RankHistogram(), members(1, 2, 2, 3), truth(2), LINE)["rank_histogram"]
    torch.testing.assert_close(found.flatten(), torch.tensor([0, 1, 1, 1, 0]).double() / 3)


def test_one_member_has_the_absolute_error(values: Values) -> None:
    box, x, y = Box.periodic((4, 3), 1.0), noise(2, 1, 3, 2, 4, 3), noise(2, 3, 2, 4, 3, seed=1)
    torch.testing.assert_close(values(FairCRPS(), x, y, box)["crps"], (x[:, 0] - y).abs().mean((-2, -1)))
    rmse = (x[:, 0] - y).square().sum(2, keepdim=True).mean((-2, -1)).sqrt()
    torch.testing.assert_close(values(EnergyScore(FLOW), x, y, box)["energy_score"], rmse)
    with pytest.raises(ValueError, match="at least two members"):
        values(SpreadSkill(), x, y, box)


def test_agrees_with_scoringrules(values: Values) -> None:
    sr = pytest.importorskip("scoringrules", reason="scoringrules (pip install 'pde-surrogates[eval]') is the peer here")
    box, x, y = Box.periodic((4, 3), 1.0), noise(2, 7, 3, 2, 4, 3), noise(2, 3, 2, 4, 3, seed=1)
    ours = values(FairCRPS(), x, y, box)["crps"].numpy()
    theirs = sr.crps_ensemble(y.numpy(), np.moveaxis(x.numpy(), 1, -1), estimator="fair").mean((-2, -1))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    points = x.transpose(1, 2).reshape(2, 3, 7, 24)
    energy = sr.es_ensemble(y.reshape(2, 3, 24).numpy(), points.numpy(), estimator="fair") / 12**0.5
    np.testing.assert_allclose(values(EnergyScore(FLOW), x, y, box)["energy_score"][..., 0].numpy(), energy, rtol=1e-10)


def test_agrees_with_scores(values: Values) -> None:
    scores = pytest.importorskip("scores", reason="scores (pip install 'pde-surrogates[eval]') is the peer here")
    import xarray as xr

    x, y = noise(1, 6, 1, 1, 9), noise(1, 1, 1, 9, seed=1)
    forecast, observed = xr.DataArray(x.numpy().reshape(6, 9), dims=("member", "x")), xr.DataArray(y.numpy().reshape(9), dims="x")
    theirs = float(scores.probability.crps_for_ensemble(forecast, observed, "member", method="fair"))
    assert values(FairCRPS(), x, y, Box.periodic((9,), 1.0))["crps"].item() == pytest.approx(theirs)


def test_fair_scores_do_not_reward_large_ensembles(values: Values) -> None:
    """Truth and members from N(0, 1): the fair CRPS is 1 / sqrt(pi) for 2 members as for 20; 40000 points give it within 4 sigma."""
    box, exact = Box.periodic((40_000,), 1.0), np.pi**-0.5
    for m in (2, 20):
        crps = values(FairCRPS(), noise(1, m, 1, 1, 40_000), noise(1, 1, 1, 40_000, seed=1), box)["crps"].item()
        assert crps == pytest.approx(exact, abs=0.02)


def test_an_ensemble_of_the_law_of_the_truth_is_calibrated(values: Values) -> None:
    """Spread-skill 1 and flat ranks: 8 members, 20000 independent points; standard errors are .006 and .0022."""
    n, m = 20_000, 8
    box = Box.periodic((n,), 1.0)
    centre, scale = noise(1, 1, 1, n, seed=2), 0.5 + noise(1, 1, 1, n, seed=3).abs()
    x, y = centre[:, None] + scale[:, None] * noise(1, m, 1, 1, n), centre + scale * noise(1, 1, 1, n, seed=1)
    assert values(SpreadSkill(), x, y, box)["spread_skill"].item() == pytest.approx(1, abs=0.03)
    ranks = values(RankHistogram(), x, y, box)["rank_histogram"].flatten()
    torch.testing.assert_close(ranks, torch.full((m + 1,), 1 / (m + 1)).double(), rtol=0, atol=0.01)
    narrow = values(SpreadSkill(), centre[:, None] + 0.5 * (x - centre[:, None]), y, box)["spread_skill"].item()
    assert narrow == pytest.approx(0.5 * (9 / 8 / (1 + 0.25 / 8)) ** 0.5, abs=0.03)  # half the spread: E(m - y)^2 = (1 + 1/32) var


def test_ranks_add_to_one_and_see_a_bias(values: Values) -> None:
    box, x, y = Box.periodic((50,), 1.0), noise(2, 5, 3, 2, 50), noise(2, 3, 2, 50, seed=1)
    ranks = values(RankHistogram(), x, y, box)["rank_histogram"]
    torch.testing.assert_close(ranks.sum(-1), torch.ones(2, 3, 2).double())
    torch.testing.assert_close(values(RankHistogram(), -x, -y, box)["rank_histogram"], ranks.flip(-1))
    assert values(RankHistogram(), x + 100, y, box)["rank_histogram"][..., 0].eq(1).all()


def test_the_energy_score_sees_what_points_do_not(values: Values) -> None:
    """Members with the right values at every point but shuffled over members lose their joint law: CRPS is equal, energy score worse."""
    n, m = 64, 12
    box = Box.periodic((n,), 1.0)
    whole = noise(1, m, 40, 1, 1).expand(1, m, 40, 1, n)  # states that are uniform in space, as the truth is
    y = noise(1, 40, 1, 1, seed=1).expand(1, 40, 1, n)
    order = torch.rand(n, m, generator=torch.Generator().manual_seed(2)).argsort(1)
    shuffled = torch.stack([whole[:, order[i], ..., i] for i in range(n)], -1)
    torch.testing.assert_close(values(FairCRPS(), whole, y, box), values(FairCRPS(), shuffled, y, box))
    score = [values(EnergyScore(ONE), x, y, box)["energy_score"].mean().item() for x in (whole, shuffled)]
    assert score[1] > 1.1 * score[0]


def test_squared_error_of_the_mean_is_that_of_members_less_their_spread(values: Values) -> None:
    """mean_m |x_m - y|^2 = |m - y|^2 + (M - 1) / M s^2: skill, spread and nRMSE fit together."""
    box, x, y = Box.periodic((30,), 1.0), noise(1, 6, 1, 1, 30), noise(1, 1, 1, 30, seed=1)
    found = values(SpreadSkill(), x, y, box)
    each = torch.stack([values(NRMSE(ONE), x[:, i : i + 1], y, box)["nrmse"] for i in range(6)])
    expected = found["skill"].square() + 5 / 6 * found["spread"].square()
    torch.testing.assert_close(each.square().mean(0) * y.square().mean(-1), expected)
