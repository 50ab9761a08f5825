"""True members of a stochastic truth: a file beside the splits, one noise a member and a stage, and nothing new for other recipes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from surrogates.data import Windows, load_recipe, make, open_dataset
from surrogates.data.commands import check_file, facts
from surrogates.data.layout import Part, checksum
from surrogates.data.recipe import MEMBERS, Recipe
from surrogates.forecast import simulate
from surrogates.interchange import from_xarray
from surrogates.pde import ForcedBurgers

MICRO = {
    "name": "micro",
    "equation": "forced_burgers",
    "seed": 1,
    "group": 2,
    "parameters": {"viscosity": 0.3, "forcing": 0.5},
    "domain": {"lengths": [6.283185307179586]},
    "solver": {"resolution": [48], "dt": 0.03125},
    "burn_in": {"time": 0.5, "solver": {"resolution": [48], "dt": 0.03125}},
    "frames": {"count": 4, "step": 0.25, "resolution": [32]},
    "splits": {"train": 2, "test": 2},
    "members": {"trajectories": 3, "count": 4, "frames": 3},
    "certificate": {"trajectories": 1, "time": 0.5},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(Recipe.from_json(MICRO), out=tmp_path_factory.mktemp("whole"), workers=1, quiet=True)


def sums(folder: Path) -> list[str]:
    return [checksum(p) for p in sorted(folder.glob("data/*/*"))]


def test_members_share_their_first_frame_and_part_from_there(whole: Path) -> None:
    d = open_dataset(whole, "members", verify=True)
    assert dict(d["u"].sizes) == {"trajectory": 3, "member": 4, "time": 3, "x": 32}
    assert d["trajectory"].values.tolist() == [4, 5, 6] and d["member"].values.tolist() == [0, 1, 2, 3]
    u = from_xarray(d)
    assert torch.equal(u[:, :1, 0].expand(-1, 4, -1, -1), u[:, :, 0])
    apart = (u[:, :, None, 1] - u[:, None, :, 1]).square().mean((-2, -1)).sqrt()
    assert (apart + torch.eye(4) > 0.05).all()


def test_the_splits_are_opened_without_them(whole: Path) -> None:
    every = open_dataset(whole)
    assert every["trajectory"].values.tolist() == [0, 1, 2, 3] and "member" not in every.dims
    assert every.attrs["scored_time"] == pytest.approx(0.5)  # half dt and double N follow the same Brownian path
    assert facts(whole)["trajectories"] == "train 2, test 2, members 3 x 4"
    assert check_file(next(whole.glob("data/members/*"))) == 0
    with pytest.raises(ValueError, match="has 4 members; training data are single trajectories"):
        Windows(whole, split="members")


def test_a_member_is_what_the_solver_makes_of_its_first_frame(whole: Path) -> None:
    """Noise is keyed by member and stage, not by batch: the same frames, but for the rounding of the stored ones, from other code."""
    from surrogates.data.truth import FRAMES
    from surrogates.noise import splitmix

    d = open_dataset(whole, "members")
    step = ForcedBurgers(48, max_dt=0.03125, dtype="float64")
    again = simulate(step, d.isel(time=0, member=0), 2, members=4, seed=splitmix(1, FRAMES), group=5)
    torch.testing.assert_close(from_xarray(again), from_xarray(d)[:, :, 1:], rtol=0, atol=1e-5)


def test_what_made_a_state_does_not_drive_its_future() -> None:
    """With the burn-in's noise for the frames as well, its first steps would be the same forcing twice."""
    from surrogates.data.truth import advance

    seen: list[int] = []
    original = advance.SeededNoise

    def spy(seed: int, *args: object) -> object:
        seen.append(seed)
        return original(seed, *args)

    recipe = Recipe.from_json(MICRO)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(advance, "SeededNoise", spy)
        u = advance.start(recipe, [0], lambda work: None)
        list(advance.frames(recipe, [0], u, 2, recipe.solver, lambda work: None))
    assert len(seen) == len(set(seen)) == 2 and recipe.seed not in seen


def test_workers_and_interruptions_do_not_change_a_bit(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, write, written = Recipe.from_json(MICRO), Part.write_rows, []

    def failing(part: Part, row: int, u: object) -> None:
        written.append(row)
        if len(written) == 4:
            raise KeyboardInterrupt
        write(part, row, u)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Part, "write_rows", failing)
        make(recipe, out=tmp_path, workers=3, quiet=True)
    assert sums(make(recipe, out=tmp_path, workers=2, quiet=True)) == sums(whole)


def test_an_unfinished_file_opens_with_whole_ensembles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, write = Recipe.from_json({**MICRO, "splits": {"train": 1}}), Part.write_rows

    def failing(part: Part, row: int, u: object) -> None:
        if row >= 8:
            raise KeyboardInterrupt
        write(part, row, u)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Part, "write_rows", failing)
        make(recipe, out=tmp_path, workers=1, quiet=True)
    partial = open_dataset(tmp_path, "members", partial=True)
    assert partial["u"].shape == (2, 4, 3, 32) and partial["trajectory"].values.tolist() == [1, 2]


def test_a_recipe_without_members_is_known_by_the_same_words_as_before() -> None:
    plain = Recipe.from_json({k: v for k, v in MICRO.items() if k != "members"})
    assert "members" not in plain.to_json() and plain.counts == {"train": 2, "test": 2}
    with_members = Recipe.from_json(MICRO)
    assert Recipe.from_json(with_members.to_json()) == with_members
    assert with_members.groups(MEMBERS) == [[4], [5], [6]] and with_members.split_of(5) == MEMBERS


def test_members_are_checked() -> None:
    with pytest.raises(ValueError, match="members are at least 2"):
        Recipe.from_json({**MICRO, "members": {"trajectories": 3, "count": 1, "frames": 3}})


def test_the_card_s_data_have_64_states_and_256_members_in_both_sizes() -> None:
    for size in ("small", "full"):
        recipe = load_recipe("forced_burgers", size)
        assert recipe.members is not None and (recipe.members.trajectories, recipe.members.count, recipe.members.frames) == (64, 256, 9)
        assert (recipe.solver.resolution[0] - 1) // 3 == (recipe.frames.resolution[0] - 1) // 2  # a frame holds every mode of the solver
