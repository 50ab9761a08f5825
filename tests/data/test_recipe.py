"""Recipes: read into dataclasses and back, drawn per trajectory alone, and wrong ones named by file and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from surrogates import catalog
from surrogates.data import kinds
from surrogates.data.distribution import Distribution
from surrogates.data.recipe import Recipe, load_recipe, sizes_of
from surrogates.data.sizes import SIZES
from surrogates.data.truth import fields_of, solver_of, written

GOOD: dict[str, Any] = {
    "name": "made",
    "equation": "burgers",
    "seed": 3,
    "parameters": {"viscosity": {"uniform": [0.1, 0.2]}},
    "domain": {"lengths": [6.0]},
    "solver": {"resolution": [32], "dt": 0.01},
    "frames": {"count": 5, "step": 0.1, "resolution": [16]},
    "splits": {"train": 6, "valid": 2, "test": {"trajectories": 2, "parameters": {"viscosity": {"uniform": [0.3, 0.4]}}}},
    "certificate": {"trajectories": 1, "time": 0.4},
    "sizes": {"tiny": {"splits": {"train": 2}}},
}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def one(**changes: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in {**GOOD, **changes}.items() if v is not None}))
        return path

    return one


@pytest.mark.parametrize("name", [n for n in catalog.names("datasets") if kinds.kind_of(catalog.find("datasets", n)) is None])
def test_every_recipe_here_is_sound_in_every_size(name: str) -> None:
    for size in sizes_of(name):
        recipe = load_recipe(name, size)
        assert recipe.name == name and recipe.size == size and size in SIZES
        assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
        assert fields_of(recipe).count >= 1


def test_sizes_are_changes_laid_over_the_rest(write: Any) -> None:
    tiny, full = load_recipe(write(), "tiny"), load_recipe(write(), "full")
    assert load_recipe(write()) == full and load_recipe(write(sizes={"small": {"seed": 5}})).size == "small"
    assert tiny.splits["train"].trajectories == 2 and tiny.splits["valid"] == full.splits["valid"]
    assert tiny.frames == full.frames


def test_trajectories_are_numbered_through_the_splits_and_grouped_within_them(write: Any) -> None:
    recipe = load_recipe(write(group=4))
    assert [list(recipe.trajectories(s)) for s in ("train", "valid", "test")] == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]
    assert recipe.groups("train") == [[0, 1, 2, 3], [4, 5]]
    assert recipe.split_of(7) == "valid"


def test_parameters_belong_to_a_trajectory_and_stay_in_their_range(write: Any) -> None:
    recipe, other = load_recipe(write()), load_recipe(write(seed=4))
    values = [recipe.values(i)["viscosity"] for i in range(10)]
    assert len(set(values)) == 10 and values != [other.values(i)["viscosity"] for i in range(10)]
    assert all(0.1 <= v <= 0.2 for v in values[:8]) and all(0.3 <= v <= 0.4 for v in values[8:])
    assert load_recipe(write(group=1)).values(5) == recipe.values(5)


@pytest.mark.parametrize(
    ("entry", "low", "high", "middle"),
    [
        ({"uniform": [1.0, 3.0]}, 1.0, 3.0, 2.0),
        ({"log_uniform": [1e-3, 1e-1]}, 1e-3, 1e-1, 1e-2),
        ({"choice": [1, 2, 5]}, 1.0, 5.0, 2.0),
        (0.5, 0.5, 0.5, 0.5),
    ],
)
def test_distributions_have_their_range_and_median(entry: Any, low: float, high: float, middle: float) -> None:
    distribution = Distribution.read(entry)
    draws = [distribution.draw(key) for key in range(4000)]
    assert low <= min(draws) and max(draws) <= high
    assert np.median(draws) == pytest.approx(middle, rel=0.1)


WRONG = [
    ({"viscosty": 1}, "viscosty: unknown key"),
    ({"solvr": {}}, "did you mean 'solver'"),
    ({"solver": None}, "solver: missing; add `solver:"),
    ({"solver": {"resolution": [32], "dt": -0.01}}, "solver: dt must be positive"),
    ({"solver": {"resolution": [32], "dt": 0.01, "dtype": "float46"}}, "did you mean 'float64'"),
    ({"solver": {"resolution": [3.5], "dt": 0.01}}, r"solver.resolution\[0\]: expected a whole number, got 3.5"),
    ({"solver": {"resolution": [32, 32], "dt": 0.01}}, "must have one entry for each of domain.lengths"),
    ({"frames": {"count": 5, "step": 0.1, "resolution": [64]}}, "is finer than solver.resolution"),
    ({"frames": {"count": 1, "step": 0.1, "resolution": [16]}}, "frames: a trajectory has at least 2 frames"),
    ({"parameters": {"viscosity": -1.0}}, "parameters.viscosity: coefficients are finite and not negative"),
    ({"parameters": {"viscosity": 0}}, "parameters.viscosity must be positive"),
    ({"parameters": {"viscosity": {"unifrom": [1, 2]}}}, "did you mean 'uniform'"),
    ({"parameters": {"viscosity": {"uniform": [2, 1]}}}, "lower < upper"),
    ({"parameters": {"viscosity": "thick"}}, "parameters.viscosity"),
    ({"splits": {"training": 3}}, "did you mean 'train'"),
    ({"splits": {"valid": 3}}, "must have 'train'"),
    ({"splits": {"train": 0}}, "splits.train: a split has at least one trajectory"),
    ({"splits": {"train": {"trajectorys": 4}}}, "did you mean 'trajectories'"),
    ({"splits": {"train": 2, "test": {"trajectories": 2, "parameters": {"viscosity": {"uniform": [0.15, 0.3]}}}}}, "overlap"),
    ({"certificate": {"trajectories": 1, "time": 4.0}}, "longer than the trajectories"),
    ({"sizes": {"small": 3}}, "sizes.small"),
    ({"sizes": {"tinny": {}}}, "did you mean 'tiny'"),
    ({"sizes": {"tiny": {"frames": {"cuont": 3}}}}, r"\(size tiny\): frames.cuont: unknown key"),
    ({"group": True}, "group: expected a whole number, got True"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[m for _, m in WRONG])
def test_a_wrong_recipe_names_file_and_key(write: Any, changes: dict[str, Any], message: str) -> None:
    path = write(**changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))


def test_yaml_that_is_none_and_files_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    with pytest.raises(ValueError, match="no such file"):
        load_recipe(path)
    path.write_text("a: [1")
    with pytest.raises(ValueError, match="not readable as YAML"):
        load_recipe(path)
    path.write_text("- 1")
    with pytest.raises(ValueError, match="expected a mapping of keys, got list"):
        load_recipe(path)


def test_an_exponent_without_a_point_is_a_number_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(GOOD).replace("dt: 0.01", "dt: 1e-2"))
    assert load_recipe(path).solver.dt == 0.01


def test_unknown_sizes_equations_and_parameters_get_the_nearest(write: Any) -> None:
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        load_recipe(write(), "tiney")
    with pytest.raises(ValueError, match="did you mean 'burgers'"):
        fields_of(load_recipe(write(equation="burger")))
    with pytest.raises(ValueError, match="burgers has no parameter 'viscos'"):
        fields_of(load_recipe(write(parameters={"viscos": 1.0}, splits={"train": 2})))
    with pytest.raises(ValueError, match="needs the parameter 'viscosity'"):
        fields_of(load_recipe(write(parameters={}, splits={"train": 2})))
    with pytest.raises(ValueError, match="did you mean 'peak'"):
        fields_of(load_recipe(write(initial={"peek": 3})))


def test_options_reach_the_solver_and_wrong_ones_are_named(write: Any) -> None:
    les = {"equation": "filtered_turbulence", "parameters": {"viscosity": 0.1}, "domain": {"lengths": [6.0] * 3}, "splits": {"train": 1}}
    grids = {"solver": {"resolution": [12] * 3, "dt": 0.1}, "frames": {"count": 5, "step": 0.1, "resolution": [8] * 3}, "sizes": {}}
    recipe = load_recipe(write(**les, **grids, options={"filter": "gaussian", "width": 1.5}))
    solver = solver_of(recipe, recipe.solver)
    assert (solver.filter, solver.width) == ("gaussian", 1.5)  # type: ignore[attr-defined]
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    for wrong, said in (
        ({"filtre": "sharp"}, "did you mean 'filter'"),
        ({"max_dt": 0.2}, "has no option 'max_dt'"),
        ({"viscosity": 0.2}, "options.viscosity is a coefficient of filtered_turbulence; write it under parameters"),
    ):
        recipe = load_recipe(write(**les, **grids, options=wrong))
        with pytest.raises(ValueError, match=said):
            solver_of(recipe, recipe.solver)


def test_a_recipe_without_options_is_written_as_it_always_was(write: Any) -> None:
    assert not {"options", "members"} & set(load_recipe(write()).to_json())


def test_files_tell_the_scheme_where_there_is_a_choice_of_one(write: Any) -> None:
    """Files of equations that have a scheme are still theirs."""
    recipe = load_recipe(write(burn_in={"time": 1.0, "solver": {"resolution": [16], "dt": 0.1, "scheme": "etdrk2"}}))
    told = written(recipe)
    assert (told["solver"]["scheme"], told["burn_in"]["solver"]["scheme"]) == ("etdrk4", "etdrk2")
    assert written(Recipe.from_json(json.loads(json.dumps(told)))) == told
    exact = {"equation": "advection", "parameters": {"speed": 1.0}, "splits": {"train": 1}, "sizes": {}}
    assert "scheme" not in written(load_recipe(write(**exact)))["solver"]
    named = load_recipe(write(**exact, solver={"resolution": [32], "dt": 0.01, "scheme": "etdrk2"}))
    with pytest.raises(ValueError, match=r"advection has a stepping of its own: leave solver.scheme \(etdrk2\) out"):
        solver_of(named, named.solver)


def test_a_layer_has_walls_where_it_says(write: Any) -> None:
    layer = {"lengths": [2.0, 1.0], "walls": ["y"]}
    convection = {"equation": "rayleigh_benard", "parameters": {"rayleigh": 1e4}, "domain": layer, "splits": {"train": 1}, "sizes": {}}
    grids = {"solver": {"resolution": [16, 8], "dt": 0.1}, "frames": {"count": 5, "step": 0.1, "resolution": [8, 4]}}
    recipe = load_recipe(write(**convection, **grids))
    assert recipe.box.boundary == ("periodic", "wall") and recipe.box.upper == (2.0, 1.0)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    with pytest.raises(ValueError, match=r"walls 'z' is unknown; write one of \['x', 'y'\]"):
        load_recipe(write(**{**convection, "domain": {**layer, "walls": ["z"]}}, **grids))


def test_whole_numbers_are_drawn_as_such() -> None:
    draws = [Distribution.read({"integer": [2, 4]}).draw(key) for key in range(60)]
    assert set(draws) == {2.0, 3.0, 4.0}
    with pytest.raises(ValueError, match="integer takes whole numbers"):
        Distribution.read({"integer": [0.5, 2]})


@pytest.mark.parametrize("name", ["isotropic_turbulence", "filtered_turbulence"])
def test_turbulence_is_resolved_in_every_size(name: str) -> None:
    """kmax times Kolmogorov's length is 1.5 or more, at the dissipation that the forcing brings about."""
    for size in sizes_of(name):
        recipe = load_recipe(name, size)
        kmax = (recipe.solver.resolution[0] - 1) // 3
        nu, eps = recipe.values(0)["viscosity"], recipe.values(0)["forcing"]
        assert kmax * (nu**3 / eps) ** 0.25 >= 1.49, size
