"""Particles against Kalman's filter, systematic resampling against its expectation, best of N, and the grouping of rows."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from laws import step_laws

from surrogates.constraints import ConservedIntegral
from surrogates.contracts import Conditions, Step
from surrogates.domains import Box, Mesh
from surrogates.fields import Field, Fields
from surrogates.noise import SeededNoise
from surrogates.refine.evidence import Both, Defect, Observed, log_likelihood
from surrogates.refine.measurement import Observation, Sensors
from surrogates.refine.resampling import BestOf, Candidates, Particles, affordable, systematic
from surrogates.rollout import begin, bundles, rollout

F64 = {"dtype": torch.float64}
BOX, FIELDS = Box.periodic((1,), 1.0), Fields.of(Field("u"))
RHO, Q, ERROR, READ = 0.8, 0.6, 0.4, (1.1, 0.2, -0.5)


class Walk:
    """u' = rho u + q e at every point: a step whose filter is Kalman's."""

    inputs = outputs = FIELDS
    history = bundle = 1
    evaluations = 3

    def begin(self, past, conditions):
        return {"u": past[:, -1], "n": torch.zeros((), dtype=torch.int64)}

    def __call__(self, state, conditions, noise=None):
        u = RHO * state["u"] + Q * noise(state["u"], step=int(state["n"]), draw=0)
        return u[:, None], {"u": u, "n": state["n"] + 1}


def conditions(rows, box=BOX):
    one = torch.ones(rows, **F64)
    return Conditions(box, 0 * one, one, torch.zeros(rows, 0, **F64))


def read(time):
    """A reading at times 1, 2, 3; rows agree on the time."""
    n = round(time[0].item())
    return Observation(Sensors.points(BOX, [0], 0, ERROR), torch.tensor([READ[n - 1]])) if 1 <= n <= len(READ) else None


def kalman(u=0.0):
    """Means and variances after each reading, and the likelihood of all readings without the constants of their normal law."""
    mean, variance, likelihood, out = u, 0.0, 1.0, []
    for y in READ:
        mean, variance = RHO * mean, RHO**2 * variance + Q**2
        total = variance + ERROR**2
        likelihood *= math.exp(-((y - mean) ** 2) / (2 * total)) * ERROR / math.sqrt(total)
        gain = variance / total
        mean, variance = mean + gain * (y - mean), (1 - gain) * variance
        out.append((mean, variance))
    return out, likelihood


def ensemble(trajectories, members, seed=0):
    rows = [(t, m) for t in trajectories for m in range(members)]
    return SeededNoise(seed, [t for t, _ in rows], [m for _, m in rows])


def filtered(trajectories, members, threshold=0.5, evidence=Observed(read), frames=3):  # noqa: B008
    """(frames "R M T", weights "R M", log evidence "R")"""
    step = Particles(Walk(), evidence, members, threshold)
    rows = trajectories * members
    state, out = begin(step, torch.zeros(rows, 1, 1, 1, **F64), conditions(rows)), []
    for bundle, after in bundles(step, state, frames, conditions(rows).after, ensemble(range(trajectories), members)):
        out.append(bundle[:, :, 0, 0])
        state = after
    return torch.cat(out, 1).reshape(trajectories, members, frames), step.weights(state), step.log_evidence(state)


# -- the filter ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_mean_and_variance_converge_to_kalman_s_as_one_over_the_members(threshold):
    (_, _, (mean, variance)), _ = kalman()
    squares = []
    for members in (16, 256):
        x, w, _ = filtered(40, members, threshold)
        m = (w * x[..., -1]).sum(1)
        v = (w * (x[..., -1] - m[:, None]).square()).sum(1)
        squares.append(torch.stack([(m - mean).square().mean(), (v - variance).square().mean()]))
    gain = squares[0] / squares[1]
    assert (gain > 5).all() and (squares[1].sqrt() < torch.tensor([0.09, 0.06], **F64)).all(), (squares, gain)


def test_the_evidence_is_unbiased_for_few_members():
    _, exact = kalman()
    for members in (2, 5):
        _, _, log = filtered(1500, members)
        estimates = log.exp()
        standard = estimates.std() / math.sqrt(len(estimates))
        assert abs(estimates.mean() - exact) < 4 * standard and standard < 0.15 * exact


def test_at_threshold_one_weights_are_alike_and_at_zero_they_are_products():
    assert torch.equal(filtered(3, 8, 1.0)[1], torch.full((3, 8), 1 / 8, **F64))
    x, w, log = filtered(3, 8, 0.0)
    logs = -((torch.tensor(READ, **F64) - x) / ERROR).square().sum(2) / 2
    torch.testing.assert_close(w, logs.softmax(1))
    torch.testing.assert_close(log, logs.exp().mean(1).log())


def test_resampling_waits_for_the_effective_size():
    """Members are drawn again exactly where 1/sum w^2 < threshold M."""
    x, w, _ = filtered(40, 8, 0.5, frames=1)
    plain, before, _ = filtered(40, 8, 0.0, frames=1)
    poor = 1 / before.square().sum(1) < 4
    assert 0 < poor.sum() < 40
    assert torch.equal(x[~poor], plain[~poor]) and torch.equal(w[~poor], before[~poor])
    assert (x[poor] != plain[poor]).flatten(1).any(1).all() and torch.equal(w[poor], torch.full_like(w[poor], 1 / 8))


def test_without_evidence_the_ensemble_is_the_plain_one():
    past, c, noise = torch.zeros(6, 1, 1, 1, **F64), conditions(6), ensemble(range(2), 3)
    for threshold in (0.5, 1.0):
        weighed = Particles(Walk(), Observed(lambda time: None), 3, threshold)
        for a, b in zip(rollout(weighed, past, 4, c.after, noise), rollout(Walk(), past, 4, c.after, noise), strict=True):
            assert torch.equal(a, b)


def test_trajectories_do_not_see_each_other():
    step, past = Particles(Walk(), Observed(read), 8), torch.zeros(24, 1, 1, 1, **F64)
    whole = torch.stack(list(rollout(step, past, 3, conditions(24).after, ensemble([4, 5, 6], 8))), 1)
    alone = torch.stack(list(rollout(step, past[:8], 3, conditions(8).after, ensemble([6], 8))), 1)
    assert torch.equal(whole[16:], alone)


def test_a_member_that_failed_is_left_behind():
    class Fails(Walk):
        def __call__(self, state, conditions, noise=None):
            u, new = super().__call__(state, conditions, noise)
            bad = torch.zeros(len(u), dtype=torch.bool)
            bad[::3] = True
            return u.masked_fill(bad[:, None, None, None], torch.nan), new

    step = Particles(Fails(), Observed(read), 6, 1.0)
    frames = list(rollout(step, torch.zeros(12, 1, 1, 1, **F64), 3, conditions(12).after, ensemble(range(2), 6)))
    assert all(f.isfinite().all() for f in frames)


# -- systematic resampling -----------------------------------------------------------------------------------------------


def test_offspring_are_floor_or_ceil_of_their_share_and_that_on_average():
    g = torch.Generator().manual_seed(0)
    w = torch.rand(5, 7, generator=g, **F64).square()
    w = w / w.sum(1, keepdim=True)
    places = (torch.arange(400, **F64) + 0.5) / 400
    counts = torch.stack([torch.nn.functional.one_hot(systematic(w, u.expand(5)), 7).sum(1) for u in places]).double()
    share = 7 * w
    assert ((counts == share.floor()) | (counts == share.ceil())).all()
    torch.testing.assert_close(counts.mean(0), share, rtol=0, atol=1 / 400)


def test_equal_weights_keep_everyone_and_one_member_may_have_all():
    for u in (1e-7, 0.5, 1 - 1e-7):
        assert systematic(torch.full((1, 9), 1 / 9, **F64), torch.tensor([u], **F64)).tolist() == [list(range(9))]
    one = torch.zeros(1, 4, **F64)
    one[0, 2] = 1.0
    assert systematic(one, torch.tensor([0.999999], **F64)).tolist() == [[2, 2, 2, 2]]


# -- best of N ------------------------------------------------------------------------------------------------------


def best(candidates, rows=5, frames=3, evidence=Observed(read)):  # noqa: B008
    noise = ensemble(range(rows), 1)
    step = BestOf(Walk(), evidence, candidates)
    return torch.stack(list(rollout(step, torch.zeros(rows, 1, 1, 1, **F64), frames, conditions(rows).after, noise)), 1)[:, :, 0, 0]


def test_the_best_of_one_is_the_plain_sample():
    plain = rollout(Walk(), torch.zeros(5, 1, 1, 1, **F64), 3, conditions(5).after, ensemble(range(5), 1))
    assert torch.equal(best(1), torch.stack(list(plain), 1)[:, :, 0, 0])


def test_more_candidates_are_never_worse_and_approach_the_reading():
    misses = [(best(n, frames=1)[:, 0] - READ[0]).abs() for n in (1, 2, 8, 64)]
    assert all((b <= a).all() for a, b in itertools.pairwise(misses)) and misses[-1].mean() < 0.1 * misses[0].mean()


def test_the_best_of_many_is_no_posterior():
    """Its spread goes to zero: that of the posterior does not."""
    (first, *_), _ = kalman()
    assert best(64, rows=100, frames=1).var() < 0.2 * first[1]


def test_candidates_have_draws_of_their_own():
    noise = ensemble(range(3), 1)
    drawn = Candidates(noise, 4)(torch.empty(12, 2), step=1, draw=0)
    assert torch.equal(drawn[::4], noise(torch.empty(3, 2), step=1, draw=0))
    assert len(drawn.unique()) == drawn.numel()


# -- steps and costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: BestOf(Walk(), Observed(read), 3), lambda: Particles(Walk(), Observed(read), 1, 1.0)])
def test_they_are_steps(make):
    step = make()
    assert isinstance(step, Step)
    past = torch.arange(3.0, **F64).reshape(3, 1, 1, 1)
    step_laws(step, past, conditions(3), lambda rows: SeededNoise(7, rows.tolist(), [0] * len(rows)), rounding=1e-13)


def test_a_run_of_particles_goes_on_from_its_state():
    step, noise = Particles(Walk(), Observed(read), 4), ensemble(range(2), 4)
    c, past = conditions(8), torch.zeros(8, 1, 1, 1, **F64)
    whole = torch.stack(list(rollout(step, past, 4, c.after, noise)), 1)
    ((one, state),) = list(bundles(step, begin(step, past, c), 1, c.after, noise))
    rest = [b for b, _ in bundles(step, dict(state), 4, c.after, noise, 1)]
    assert torch.equal(torch.cat([one, *rest], 1), whole)


def test_evaluations_are_counted_and_budgets_kept():
    walk = Walk()
    assert (BestOf(walk, Observed(read), 5).evaluations, Particles(walk, Observed(read), 5).evaluations) == (15, 3)
    assert affordable(walk, 16) == 5
    with pytest.raises(ValueError, match="costs 3 evaluations, more than the budget of 2"):
        affordable(walk, 2)


def test_a_law_s_defect_and_readings_add():
    law = ConservedIntegral(FIELDS, "u")
    defect = Defect(law, 0.5)
    c, last = conditions(4), torch.ones(4, 1, 1, **F64)
    future = last[:, None] + torch.tensor([0.0, 0.5, 1.0, -1.0], **F64).reshape(4, 1, 1, 1)
    by_law = log_likelihood(defect, last, future, c)
    torch.testing.assert_close(by_law, torch.tensor([0.0, -2 / 9, -0.5, -2.0], **F64))  # a relative defect
    both = log_likelihood(Both((defect, Observed(read))), last, future, c)
    torch.testing.assert_close(both, by_law + log_likelihood(Observed(read), last, future, c))


def test_what_is_refused():
    c, past = conditions(4), torch.zeros(4, 1, 1, 1, **F64)
    with pytest.raises(ValueError, match="4 rows are no whole number of trajectories of 3 members"):
        Particles(Walk(), Observed(read), 3).begin(past, c)
    for make in (lambda: Particles(Walk(), Observed(read), 0), lambda: Particles(Walk(), Observed(read), 2, 1.5)):
        with pytest.raises(ValueError, match="members must be at least 1"):
            make()
    with pytest.raises(ValueError, match="candidates is 0"):
        BestOf(Walk(), Observed(read), 0)
    for step in (BestOf(Walk(), Observed(read), 2), Particles(Walk(), Observed(read), 2)):
        with pytest.raises(ValueError, match="differ by their noise"):
            step(step.begin(past, c), c)
        two = Mesh.batch([Mesh.from_nearest([[0.0], [1.0]], 1)] * 2)
        with pytest.raises(ValueError, match="one row holds 2 meshes"):
            step.begin(past, replace(c, domain=two))


def test_candidates_share_no_draws():
    """Every (candidate, draw) is a draw of its own, as many as a sampler may ask for, and candidate 0 is the plain row."""
    noise, like = SeededNoise(3, [5], [0]), torch.empty(4, 1, 6)
    drawn = [Candidates(noise, 4)(like, step=2, draw=k) for k in range(40)]
    rows = torch.stack(drawn).flatten(0, 1).flatten(1)
    assert len(rows.unique(dim=0)) == 160
    assert torch.equal(drawn[7][:1], noise(like[:1], step=2, draw=7))
