"""Recipes of cases: parameters belong to the id of a case, cases can be built, and what is wrong is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from surrogates import catalog
from surrogates.data import cases, kinds
from surrogates.data.cases import channel
from surrogates.data.cases.outline import gap
from surrogates.data.cases.recipe import CaseRecipe
from surrogates.data.sections import Split

NAMES = ("cylinder_wake", "lid_driven_cavity", "dam_break")


def wake(size: str = "small") -> CaseRecipe:
    return cases.load(catalog.find("datasets", "cylinder_wake"), size)


@pytest.mark.parametrize("name", NAMES)
def test_recipes_that_ship_draw_cases_that_can_be_built(name: str) -> None:
    path = catalog.find("datasets", name)
    for size in cases.sizes(path):
        recipe = cases.load(path, size)
        assert recipe.name == name and set(recipe.summary) == {"equation", "frames", "grid"}
        for case in (0, 1, *recipe.cases("test")[:2]):
            assert recipe.made.refusal(recipe.values(case), recipe.meshing) == ""


def test_a_case_has_the_same_parameters_whatever_the_others_are() -> None:
    recipe = wake()
    more = replace(recipe, splits={"train": Split(100)})
    assert [recipe.values(i) for i in range(6)] == [more.values(i) for i in range(6)]
    assert recipe.values(0) != recipe.values(1)
    assert replace(recipe, seed=1).values(0) != recipe.values(0)


def test_obstacles_stand_clear_of_the_sides_and_of_each_other() -> None:
    recipe = replace(wake("full"), parameters={**wake("full").parameters})
    both = 0
    for case in range(40):
        values, least = recipe.values(case), recipe.meshing["clearance"]
        outlines = [o.outline(0.002) for o in channel.obstacles(values)]
        for points in outlines:
            assert points.min() > least * 0.99
            assert points[:, 1].max() < recipe.meshing["height"] - least * 0.99
        if len(outlines) == 2:
            both += 1
            assert gap(*outlines) > least * 0.95
        else:
            assert values["x2"] == values["y2"] == values["size2"] == 0
    assert 5 < both < 35


def test_the_viscosity_makes_the_reynolds_number() -> None:
    values = wake().values(3)
    assert values["speed"] * values["size1"] / values["viscosity"] == pytest.approx(values["reynolds"])


def test_splits_follow_each_other() -> None:
    recipe = wake()
    assert [list(recipe.cases(s)) for s in ("valid", "test")] == [[24, 25, 26, 27], [28, 29, 30, 31]]
    assert recipe.split_of(25) == "valid"
    assert kinds.load("cylinder_wake", "small") == recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"family": "chanel"}, "did you mean 'channel'"),
        ({"parameters": {"reynold": 100}}, "did you mean 'reynolds'"),
        ({"parameters": {"speed": 1}}, "parameters.reynolds is missing"),
        ({"parameters": {"reynolds": "#calc"}}, "reynolds"),
        ({"parameters": {"reynolds": float("nan")}}, "finite"),
        ({"mesh": {"near": -1}}, "mesh.near must be positive"),
        ({"mesh": {}}, "mesh.near is missing"),
        ({"frames": {"count": 1, "step": 0.1}}, "at least 2 frames"),
        ({"frames": {"count": 3, "step": 0.1, "start": 0}}, "nothing is solved yet.*start: 0.1"),
        ({"certificate": 0.5}, "not between one frame, 0.1 s, and all of them, 0.2 s"),
        ({"certificate": 0.2, "family": "cavity", "mesh": {"cells": 8}}, "only 'channel' is"),
        ({"splits": {"test": 1}}, "must have 'train'"),
        ({"splits": {"train": 1, "test": {"trajectories": 1, "parameters": {"reynold": 90}}}}, "did you mean 'reynolds'"),
        (
            {
                "parameters": {"reynolds": {"uniform": [60, 100]}},
                "splits": {"train": 1, "test": {"trajectories": 1, "parameters": {"reynolds": {"uniform": [90, 120]}}}},
            },
            "ranges of 'reynolds' in the splits 'test' .90, 120. and 'train' .60, 100. overlap",
        ),
        ({"kind": "case"}, "kind: cases"),
        ({"sizes": {"huge": {}}}, "sizes.huge"),
        ({"solver": {"courant": 0}}, "courant must be positive"),
        ({"parameters": {"reynolds": 100, "y1": 0.02}}, "no case 0 in"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, object], words: str) -> None:
    entry = {
        "kind": "cases", "name": "wrong", "family": "channel", "parameters": {"reynolds": 100}, "mesh": {"near": 0.1},
        "frames": {"count": 3, "step": 0.1, "start": 0.1}, "splits": {"train": 1}, **change,
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(entry))
    with pytest.raises(ValueError, match=words):
        cases.load(path).values(0)


def test_what_is_examined_afterwards_changes_no_file(tmp_path: Path) -> None:
    recipe = wake()
    assert replace(recipe, certificate=1.0).to_json() == recipe.to_json() and "certificate" not in recipe.to_json()
