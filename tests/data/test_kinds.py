"""A recipe of any kind is found, listed and made by one name, and what its kind does not take is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from surrogates import catalog
from surrogates.data import kinds
from surrogates.data.sizes import SIZES


@pytest.mark.parametrize("name", catalog.names("datasets"))
def test_every_recipe_here_tells_what_a_list_shows(name: str) -> None:
    assert set(kinds.sizes(name)) <= set(SIZES)
    for size in kinds.sizes(name):
        recipe = kinds.load(name, size)
        assert (recipe.name, recipe.size) == (name, size)
        assert set(recipe.counts) <= {"train", "valid", "test", "members"} and min(recipe.counts.values()) > 0
        assert {"equation", "frames", "grid"} <= set(recipe.summary) and all(isinstance(v, str) for v in recipe.summary.values())


def test_every_kind_is_here() -> None:
    found = {kinds.kind_of(kinds.path_of(name)) for name in catalog.names("datasets")}
    assert found == {None, *kinds.KINDS}


def test_a_folder_that_holds_what_was_made_hides_no_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`data make kdv --out kdv`, said again, resumes."""
    monkeypatch.chdir(tmp_path)
    for name in ("kdv", "mine"):
        (tmp_path / name / "data").mkdir(parents=True)
    assert kinds.load("kdv", "tiny").name == "kdv" and kinds.sizes("kdv")
    with pytest.raises(ValueError, match="mine is a folder without a recipe.yaml"):
        kinds.load("mine")


def test_a_kind_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: a\nkind: observation\n")
    with pytest.raises(ValueError, match=r"recipe.yaml: kind: 'observation' is none of .* did you mean 'observations'"):
        kinds.load(tmp_path)


def test_a_kind_that_is_no_word_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: a\nkind: [cases]\n")
    with pytest.raises(ValueError, match=r"recipe.yaml: kind: \['cases'\] is none of"):
        kinds.load(tmp_path)


@pytest.mark.parametrize("name", ["../../evil", "/evil", "a/b", ".hidden", "-rf", "", "a b"])
@pytest.mark.parametrize("shipped", ["kdv", "cylinder_wake", "navy_winds"])
def test_a_name_is_no_path(shipped: str, name: str, tmp_path: Path) -> None:
    entry = yaml.safe_load(kinds.path_of(shipped).read_text())
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**entry, "name": name}))
    with pytest.raises(ValueError, match=r"recipe.yaml.*name: '.*' becomes a folder and a file: write letters, digits"):
        kinds.make(tmp_path, out=None, quiet=True)


@pytest.mark.parametrize(("argument", "value"), [("device", "cuda"), ("scheduler", "local")])
def test_what_only_an_equation_takes_is_refused_before_any_work(argument: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"cylinder_wake is of kind 'cases', whose data are not computed here: leave {argument}= out"):
        kinds.make("cylinder_wake", "tiny", tmp_path / "out", **{argument: value})
    assert not (tmp_path / "out").exists()
