"""Noise depends on (seed, trajectory, member, step, draw) and on nothing else."""

import pytest
import torch

from surrogates.noise import AtStep, SeededNoise, splitmix, uniform


def noise(rows, seed=0):
    return SeededNoise(seed, [t for t, _ in rows], [m for _, m in rows])


def test_a_row_never_depends_on_its_neighbours():
    rows = [(t, m) for t in range(3) for m in range(4)]
    like = torch.empty(12, 2, 8, 8)
    whole = noise(rows)(like, step=5, draw=1)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1)).tolist()
    shuffled = noise([rows[i] for i in order])(like, step=5, draw=1)
    assert torch.equal(shuffled, whole[order])
    parts = [noise(rows[i : i + 5])(like[i : i + 5], step=5, draw=1) for i in range(0, 12, 5)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("change", [dict(seed=1), dict(t=1), dict(m=1), dict(step=1), dict(draw=1)])
def test_every_key_matters(change):
    like = torch.empty(1, 4096)
    key = {"seed": 0, "t": 0, "m": 0, "step": 0, "draw": 0}

    def draw(k):
        return SeededNoise(k["seed"], [k["t"]], [k["m"]])(like, step=k["step"], draw=k["draw"])

    a, b = draw(key), draw({**key, **change})
    correlation = float((a * b).mean())
    assert abs(correlation) < 5 / 64  # 5 standard errors of 4096 independent products


def test_draws_are_standard_normal_and_the_same_in_float64():
    like = torch.empty(64, 1024)
    z = noise([(t, 0) for t in range(64)])(like, step=0, draw=0)
    assert abs(float(z.mean())) < 5 / 256
    assert abs(float(z.std()) - 1) < 0.02
    assert abs(float((z**4).mean()) - 3) < 0.2
    assert torch.equal(noise([(t, 0) for t in range(64)])(like.double(), step=0, draw=0), z.double())


def test_uniform_is_uniform_and_inside():
    u = uniform(AtStep(noise([(t, 0) for t in range(64)]), 3), torch.empty(64, 1024), draw=2)
    assert float(u.min()) > 0 and float(u.max()) < 1
    assert abs(float(u.mean()) - 0.5) < 0.01 and abs(float(u.var()) - 1 / 12) < 0.002


def test_a_batch_of_another_size_is_refused():
    with pytest.raises(ValueError, match="3 rows but this noise was made for 2"):
        noise([(0, 0), (0, 1)])(torch.empty(3, 1), step=0, draw=0)
    with pytest.raises(ValueError, match="give one of each a row"):
        SeededNoise(0, [0, 1], [0])


def test_keys_do_not_collide_by_shifting_words():
    keys = {splitmix(a, b, c) for a in range(20) for b in range(20) for c in range(20)}
    assert len(keys) == 8000
