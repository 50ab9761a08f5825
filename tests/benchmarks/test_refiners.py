"""The comparison of refiners: budgets counted, verdicts and laws on known answers, one command from nothing to the picture, resumed."""

from __future__ import annotations

import copy
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

HERE = Path(__file__).parents[2] / "benchmarks"
sys.path[:0] = [str(HERE / name) for name in ("refiners", "operators", "speed")]

import contender  # noqa: E402
import contest  # noqa: E402
import known_law  # noqa: E402
from contender import Training, budgets, build, kept, task_of, trained  # noqa: E402
from judge import ClimateDraws, Settings, above, judge, truth_of  # noqa: E402
from verdicts import equivalence  # noqa: E402

from surrogates.data import make, open_dataset  # noqa: E402
from surrogates.domains import Box  # noqa: E402
from surrogates.fields import Field, Fields  # noqa: E402
from surrogates.forecast import simulate  # noqa: E402
from surrogates.interchange import from_xarray, to_xarray  # noqa: E402
from surrogates.pde import KuramotoSivashinsky  # noqa: E402

NETWORK = {"class": "FNO", "width": 4, "modes": [6], "layers": 1, "positions": 0}
FLOW = {"operator": NETWORK, "refiner": {"class": "FlowMatching"}}
KS = {"dataset": "kuramoto_sivashinsky", "size": "tiny", "train_frames": 20, "batch": 4}
JUDGE = {"trajectories": 2, "leads": 3, "members": 2, "window": 2, "evaluations": [1, 2, 4, 8], "long": 4}
ENTRY = {
    "data": KS,
    "steps": 3,
    "rates": [1e-3],
    "scan": 0.5,
    "seeds": [0],
    "judge": JUDGE,
    "solvers": {"ETDRK4 32": {"class": "KuramotoSivashinsky", "resolution": [32], "max_dt": 0.4}},
    "contenders": {"MSE": {"operator": NETWORK}, "flow": FLOW, "residual flow": FLOW | {"guess": "MSE"}},
}


@pytest.fixture(scope="module", autouse=True)
def data() -> None:
    make("kuramoto_sivashinsky", "tiny", quiet=True, workers=1)


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump({"ks": ENTRY}))
    yield path


def changed(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump({"ks": copy.deepcopy(ENTRY) | changes}))
    return path


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["contest.py", *map(str, words)])
    return contest.main()


class Here:
    """A pool without processes: workers that take seconds to start are no part of what is tested."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, call: Callable[..., str], *args: object) -> Future[str]:
        future: Future[str] = Future()
        try:
            future.set_result(call(*args))
        except Exception as error:
            future.set_exception(error)
        return future


# -- the whole way ---------------------------------------------------------------------------------------------


def test_one_command_from_nothing_to_the_picture_and_again_without_work(suite: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(contest, "ProcessPoolExecutor", Here)
    words = ("--suite", suite, "--out", tmp_path / "out", "--workers", 1, "--no-costs")
    assert run(monkeypatch, *words) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    for expected in ("| MSE | 1 |", "| flow | 8 |", "| residual flow | 2 |", "| residual flow | 8 |", "| climate |", "| ETDRK4 32 |"):
        assert expected in table
    assert "| flow | 4 against 8 |" in table and "| residual flow | 1 |" not in table
    assert (tmp_path / "out" / "pareto.png").stat().st_size > 10_000
    rows = json.loads((tmp_path / "out" / "scores.json").read_text())["ks"]["rows"]
    assert len(rows[0]["curves"]["correlation"]) == 3 and rows[0]["machine"]["commit"]
    result = json.loads((tmp_path / "out" / "runs" / "ks" / "flow" / "lr0.001-seed0-steps3.json").read_text())
    assert result["command"].startswith("python contest.py --suite") and result["results"]["4"]["long"]["frames"] == 4
    assert "runs to make" in capsys.readouterr().out
    assert run(monkeypatch, *words) == 0
    assert "runs to make" not in capsys.readouterr().out and (tmp_path / "out" / "table.md").read_text() == table


def test_weights_are_kept_when_only_the_judging_changes(suite: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(contest, "ProcessPoolExecutor", Here)
    words = ("--suite", suite, "--out", tmp_path, "--no-costs", "--contenders", "MSE")
    assert run(monkeypatch, *words) == 0
    trainings: list[int] = []
    monkeypatch.setattr(contender, "train", lambda *_: trainings.append(1) or 0.0)
    changed(suite, judge=JUDGE | {"leads": 4})
    assert run(monkeypatch, *words) == 0 and not trainings
    changed(suite, rates=[2e-3])
    assert run(monkeypatch, *words) == 0 and trainings, "weights of another rate are not those of this one"


def test_the_rate_with_the_least_validation_score_is_taken_and_guesses_come_first(suite: Path, tmp_path: Path) -> None:
    (plan,) = contest.plans(changed(suite, rates=[1e-3, 1e-2], seeds=[0, 1]), None, None)

    def store(run: contest.Run, score: float) -> None:
        results = {"4": {"energy score": score}}
        contest.write_json(contest.path_of(tmp_path, run), {"run": json.loads(json.dumps(asdict(run))), "results": results})
        weights, about = contender.weights_of(tmp_path, run.training)
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.touch()
        about.write_text(json.dumps({"training": asdict(run.training)}))

    def now() -> list[tuple[str, float, int, str]]:
        found = contest.pending(tmp_path, [plan], set())
        return [(r.training.label, r.training.lr, r.training.seed, r.split) for r in found]

    assert now() == [(label, lr, 0, "valid") for label in ("MSE", "flow") for lr in (1e-3, 1e-2)]
    assert all(r.training.steps == 2 and r.judge["evaluations"] == [4] for r in plan.scans(tmp_path, "MSE"))
    for run, score in zip(plan.scans(tmp_path, "MSE"), (math.inf, 0.3), strict=True):  # the first blew up
        store(run, score)
    assert [(r.training.lr, r.training.seed) for r in plan.finals(tmp_path, "MSE")] == [(1e-2, 0), (1e-2, 1)]
    assert not any(label == "residual flow" for label, *_ in now()), "its guess has no weights yet"
    store(plan.finals(tmp_path, "MSE")[0], 0.3)
    assert [entry for entry in now() if entry[0] == "residual flow"] == [("residual flow", lr, 0, "valid") for lr in (1e-3, 1e-2)]
    (guess,) = {r.training.guess.lr for r in plan.scans(tmp_path, "residual flow")}
    assert guess == 1e-2, "the guess has its own best rate"


def test_a_contender_that_does_not_exist_fails_alone(suite: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(contest, "ProcessPoolExecutor", Here)
    missing = {"operator": NETWORK, "refiner": {"class": "surrogates.refine.not_written_yet.Refiner"}}
    changed(suite, contenders={"MSE": {"operator": NETWORK}, "later": missing})
    assert run(monkeypatch, "--suite", suite, "--out", tmp_path, "--no-costs") == 1
    said = capsys.readouterr()
    assert "left out: ks/later: ValueError: refiner.class" in said.err and "cannot be imported" in said.err
    assert "| MSE | 1 |" in said.out and "not_written_yet" in (tmp_path / "table.md").read_text()


def test_a_guess_that_failed_fails_what_starts_from_it_alone(suite: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(contest, "ProcessPoolExecutor", Here)
    assert run(monkeypatch, "--suite", suite, "--out", tmp_path, "--no-costs", "--contenders", "residual flow") == 1
    assert "starts from the guess 'MSE', which is not trained" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({"step": 3}, (), "ks: expected the keys"),
        ({}, ("--only", "kss"), "no task 'kss'; it has .*did you mean 'ks'"),
        ({}, ("--contenders", "flows"), "no contender 'flows'.*did you mean 'flow'"),
        ({"contenders": {"a": {"operator": NETWORK, "refinr": {}}}}, (), "ks: a: expected some of the keys .*refinr"),
        ({"contenders": {"a": FLOW | {"guess": "b"}}}, (), "the guess 'b' must be a contender without a refiner"),
        ({"judge": JUDGE | {"window": 9}}, (), "window is 9 but must lie between 1 and the 3 leads"),
    ],
)
def test_bad_suites_are_named_before_any_work(suite: Path, tmp_path: Path, monkeypatch, capsys, changes, words, message) -> None:
    changed(suite, **changes)
    out = tmp_path / "out"
    assert run(monkeypatch, "--suite", suite, "--out", out, *words) == 2
    assert re.search(message, capsys.readouterr().err) and not out.exists()


# -- budgets ---------------------------------------------------------------------------------------------------


class Counting(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, *args, **kwargs):
        self.calls += 1
        return self.network(*args, **kwargs)


EVERY = {
    "flow": ({"class": "FlowMatching"}, {1, 2, 4, 8}),
    "Heun": ({"class": "FlowMatching", "sampler": "heun"}, {1, 3, 7}),
    "refiner": ({"class": "PDERefiner", "schedule": {"class": "Exponential", "steps": 3}}, {4}),
    "DDPM": (
        {
            "class": "FlowMatching",
            "path": {"class": "LinearBetas", "steps": 16},
            "prediction": {"class": "SourcePrediction"},
            "schedule": {"class": "Steps", "count": 16},
            "sampler": "ddpm",
        },
        {1, 2, 4, 8},
    ),
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("guessed", [False, True])
def test_the_evaluations_of_a_budget_are_those_that_are_made(name: str, guessed: bool) -> None:
    refiner, expected = copy.deepcopy(EVERY[name])
    if guessed and name == "refiner":
        refiner["schedule"]["first"] = 1
    task = task_of(KS)
    guess = build(task, {"operator": NETWORK}, 0) if guessed else None
    surrogate = build(task, {"operator": NETWORK, "refiner": refiner}, 0, guess)
    found = budgets(surrogate, [1, 2, 4, 8])
    if not guessed:
        assert set(found) == expected
    counters = [Counting(surrogate.refiner.operator)]
    surrogate.refiner.operator = counters[0]
    if guessed:
        counters.append(Counting(surrogate.operator))
        surrogate.operator = counters[1]
    from costs import frame

    for n, steps in found.items():
        if steps is not None:
            surrogate.refiner.steps = steps
        for c in counters:
            c.calls = 0
        frame(task, surrogate, rows=2)()
        assert sum(c.calls for c in counters) == n


def test_training_depends_on_its_seed_alone_and_the_guess_stays_as_it_was(tmp_path: Path) -> None:
    task, guess = task_of(KS), {"label": "MSE", "entry": {"operator": NETWORK}, "lr": 1e-2, "steps": 5}
    first = Training("ks", "MSE", KS, guess["entry"], 1e-2, 5, 3)
    again, _ = trained(tmp_path / "b", first, task)
    mse, _ = trained(tmp_path / "a", first, task)
    assert all(torch.equal(a, b) for a, b in zip(mse.parameters(), again.parameters(), strict=True))
    refined, told = trained(tmp_path / "a", Training("ks", "residual flow", KS, FLOW | {"guess": guess}, 1e-2, 5, 3), task)
    assert all(torch.equal(a, b) for a, b in zip(mse.operator.parameters(), refined.operator.parameters(), strict=True))
    assert told["parameters"] == sum(p.numel() for p in refined.refiner.parameters())
    assert kept(tmp_path / "a", first) and not kept(tmp_path / "a", Training("ks", "MSE", KS, guess["entry"], 1e-2, 6, 3))


def test_training_lowers_the_loss() -> None:
    task = task_of(KS)
    surrogate = build(task, {"operator": NETWORK}, 0)
    early, late = (contender.train(task, surrogate, 1e-2, n, 0) for n in (1, 60))
    assert late < 0.9 * early


# -- judging ---------------------------------------------------------------------------------------------------


def test_the_truth_solver_has_no_error_and_the_climate_no_skill() -> None:
    settings = Settings(trajectories=2, leads=4, members=6, window=3, evaluations=(1,))
    truth = truth_of("kuramoto_sivashinsky", "tiny", settings)
    exact = judge(KuramotoSivashinsky([128], max_dt=0.05), truth, settings, 1)
    assert exact["energy score"] < 1e-4 and exact["spectrum error"] < 0.05 and exact["failed"] == 0
    assert exact["censored"] == 2 and exact["time"] == pytest.approx(4 * 0.8) == exact["member time"]
    u = from_xarray(open_dataset("kuramoto_sivashinsky", "train", size="tiny"))
    draws = judge(ClimateDraws(task_of(KS).fields, u.flatten(0, 1)), truth, settings, 6)
    assert draws["energy score"] > 100 * exact["energy score"] and draws["time"] < 0.8 and draws["spectrum error"] < 0.5


def test_a_member_that_blows_up_is_counted_and_never_dropped() -> None:
    class Blowing(KuramotoSivashinsky):
        def __call__(self, state, conditions, noise=None):
            u, state = super().__call__(state, conditions)
            u[0] *= 1e9
            return u, state

    settings = Settings(trajectories=2, leads=3, members=2, window=2, evaluations=(1,))
    truth = truth_of("kuramoto_sivashinsky", "tiny", settings)
    found = judge(Blowing([64], max_dt=0.2), truth, settings, 2)
    assert found["failed"] >= 1 and found["energy score"] == found["crps"] == found["spectrum error"] == math.inf


def test_the_spectrum_error_is_of_the_shells_above_the_dominant_alone() -> None:
    truth = 10.0 ** -torch.arange(0.0, 10.0, dtype=torch.float64)
    truth[0] = 0.0
    low, high = truth.clone(), truth.clone()
    low[1] *= 5.0
    high[4:] *= 100.0
    assert above(low, truth) < 0.01
    assert above(high, truth) == pytest.approx(math.sqrt(4 * 6 / 7), rel=1e-6)  # shells 3 to 9 are above: 99 % lies in 1 and 2


# -- verdicts --------------------------------------------------------------------------------------------------


def test_verdicts_on_known_ratios() -> None:
    many = np.random.default_rng(1).gamma(9.0, size=16)
    assert equivalence(1.004 * many, many).word == "equivalent"
    assert equivalence(1.1 * many, many).word == "worse" and equivalence(0.9 * many, many).word == "better"
    noisy = many * np.random.default_rng(2).lognormal(0.0, 0.3, size=16)
    assert equivalence(noisy, many).word == "undecided"
    assert equivalence([math.inf, 1.0], [1.0, 1.0]).word == "worse"
    assert equivalence([1.0, 1.0], [math.inf, 1.0]).word == "undecided"


def test_scores_at_the_margin_are_rarely_called_equivalent() -> None:
    rng, said = np.random.default_rng(3), 0
    for _ in range(200):
        many = rng.normal(1.0, 0.2, size=12)
        few = many * 1.02 + rng.normal(0.0, 0.01, size=12)  # the true ratio is on the margin: 5 % is the size of the test
        said += equivalence(few, many, resamples=400).word == "equivalent"
    assert said / 200 < 0.12


# -- the known law ---------------------------------------------------------------------------------------------


def members(u: torch.Tensor) -> xr.Dataset:
    """(states, members, points) as a Dataset of one lead."""
    s, n, p = u.shape
    box, fields = Box.periodic((p,), 1.0), Fields.of(Field("u"))
    return to_xarray(u[:, :, None, None], fields, box, time=[1.0], trajectories=range(s), members=range(n), start=0.0)


def test_a_sample_of_the_law_has_ratio_one_and_others_more() -> None:
    g = torch.Generator().manual_seed(0)
    true, same = (torch.randn(12, 64, 16, generator=g) for _ in range(2))
    law = known_law.Law(states=12, members=64, leads=(1,))
    (right,) = known_law.told(members(same), members(true), law)
    assert right["ratio"] == pytest.approx(1.0, abs=0.1) and right["variance"] == pytest.approx(1.0, abs=0.05)
    assert right["interval"][0] < right["ratio"] < right["interval"][1] and right["variance spectrum error"] < 0.05
    assert abs(right["relative"]) < 0.01
    (narrow,), (moved,) = (known_law.told(members(u), members(true), law) for u in (0.5 * same, same + 0.5))
    assert narrow["ratio"] > 2 and narrow["variance"] == pytest.approx(0.25, abs=0.02) and moved["ratio"] > 2
    (point,) = known_law.told(members(0 * same), members(true), law)  # the mean, repeated
    assert point["relative"] == pytest.approx(2**0.5 - 1, abs=0.05) and point["variance"] == 0


class Noisy:
    """A Step of a known law: each frame is half the last plus white noise of deviation `spread`."""

    inputs = outputs = Fields.of(Field("u"))
    history = bundle = 1

    def __init__(self, spread: float) -> None:
        self.spread = spread

    def begin(self, past, conditions):
        return {"past": past, "step": torch.zeros((), dtype=torch.int64)}

    def __call__(self, state, conditions, noise=None):
        u = state["past"] / 2 + self.spread * noise(state["past"], step=int(state["step"]), draw=0)
        return u, {"past": u, "step": state["step"] + 1}


def test_a_step_is_held_against_true_members_of_its_initial_states(monkeypatch: pytest.MonkeyPatch) -> None:
    box, fields = Box.periodic((16,), 1.0), Noisy.inputs
    start = torch.randn(6, 1, 1, 16, generator=torch.Generator().manual_seed(2))
    about = {"time": [0.0], "trajectories": range(6), "attrs": {"dt": 0.5}}
    forecast = simulate(Noisy(1.0), to_xarray(start, fields, box, **about), 3, members=64, seed=7)
    u = torch.cat([start[:, None].expand(-1, 64, -1, -1, -1), from_xarray(forecast)], 2)
    data = to_xarray(u, fields, box, time=[0.0, 0.5, 1.0, 1.5], trajectories=range(6), members=range(64))
    monkeypatch.setattr(known_law, "open_dataset", lambda *_, **__: data)
    known_law.truth.cache_clear()
    law = known_law.Law(states=6, members=32, leads=(1, 3))
    for found in (known_law.compare(Noisy(1.0), "noisy", "full", law), known_law.perfect("noisy", "full", law)):
        assert [told["lead"] for told in found] == [1, 3]
        assert all(0.85 < told["ratio"] < 1.15 and 0.8 < told["variance"] < 1.2 for told in found)
    assert all(told["ratio"] > 1.3 for told in known_law.compare(Noisy(0.6), "noisy", "full", law))
    with pytest.raises(ValueError, match="the known law asks for"):
        known_law.truth("noisy", "full", known_law.Law(states=6, members=33, leads=(1,)))
    known_law.truth.cache_clear()
