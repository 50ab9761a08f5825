"""What is installed is what is here: one version, every module, the same declarations, and a light import."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import surrogates
from surrogates import catalog

ROOT = Path(__file__).parent.parent
LATE = ("torch", "lightning", "neuralop", "torch_geometric", "matplotlib", "xarray", "wandb")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, unpacked."""
    pytest.importorskip("build", reason="pip install build")
    pytest.importorskip("hatchling", reason="pip install hatchling")
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(out / "unpacked")
    return out / "unpacked"


def python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints, away from the checkout unless `environment` leads there."""
    env = os.environ | environment
    return subprocess.run([sys.executable, "-c", code], env=env, cwd=os.sep, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("kind", ["datasets", "benchmarks"])
def test_declarations_are_no_import_package(kind: str) -> None:
    """An import package called `datasets` would overwrite the popular one of that name."""
    assert not list((ROOT / kind).rglob("__init__.py"))


def test_the_wheel_holds_every_module_and_marker(wheel: Path) -> None:
    """.gitignore decides what a wheel leaves out: a line `data/` there once hid surrogates/data."""
    here = {p.relative_to(ROOT) for p in (ROOT / "surrogates").rglob("*.py")} | {Path("surrogates/py.typed")}
    there = {p.relative_to(wheel) for p in (wheel / "surrogates").rglob("*") if p.is_file()}
    assert here == {p for p in there if "_share" not in p.parts}


def test_the_wheel_adds_one_import_package(wheel: Path) -> None:
    assert [p.name for p in wheel.iterdir() if not p.name.endswith(".dist-info")] == ["surrogates"]


@pytest.mark.parametrize("kind", ["datasets", "benchmarks"])
def test_declarations_are_the_same_from_the_wheel(kind: str, wheel: Path) -> None:
    known = catalog.names(kind)
    assert known, f"{kind}/ declares nothing"
    code = f"import json; from surrogates import catalog; print(json.dumps([catalog.names({kind!r}), str(catalog.share({kind!r}))]))"
    names, folder = json.loads(python(code, PYTHONPATH=str(wheel)))
    assert names == known
    assert Path(folder) == wheel / "surrogates" / "_share" / kind
    for here in (ROOT / kind).glob("*/*.yaml"):  # recipes and suites, and the configurations that lie beside a suite
        assert (Path(folder) / here.relative_to(ROOT / kind)).read_bytes() == here.read_bytes()


def test_one_version_everywhere(wheel: Path) -> None:
    (metadata,) = wheel.glob("*.dist-info/METADATA")
    assert f"\nVersion: {surrogates.__version__}\n" in metadata.read_text()
    assert re.search(rf"^version: {re.escape(surrogates.__version__)}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert f"## {surrogates.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_constraints_pin_every_dependency_and_no_gpu_package() -> None:
    pinned = {normal(line.split("==")[0]) for line in constraints()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    assert {normal(re.split(r"[\[<>=~; ]", r)[0]) for r in wanted} <= pinned
    assert not [name for name in pinned if name.startswith("nvidia")]


def test_constraints_are_exact_and_name_no_place() -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in constraints())


def test_import_is_light() -> None:
    code = f"""
import sys, time
start = time.perf_counter()
import surrogates
print(time.perf_counter() - start, *[name for name in {LATE} if name in sys.modules])
"""
    seconds, *loaded = python(code, PYTHONPATH=str(ROOT)).split()
    assert not loaded
    assert float(seconds) < 3


def test_public_names_are_what_they_say() -> None:
    """Every name in __all__ is found, is the object its own module has, and is offered by dir()."""
    for name, home in surrogates._HOME.items():
        module = sys.modules[getattr(surrogates, name).__module__]
        assert module.__name__.startswith(f"surrogates.{home}")
        assert getattr(surrogates, name) is getattr(module, name)
    assert set(surrogates.__all__) == {*surrogates._HOME, "__version__"} <= set(dir(surrogates))


def test_public_names_load_nothing_heavy() -> None:
    """All of the public names together need torch and xarray, and none of the training or plotting libraries."""
    heavy = ("lightning", "neuralop", "torch_geometric", "matplotlib", "wandb")
    code = f"import sys, surrogates as sg; [getattr(sg, n) for n in sg.__all__]; print(*[n for n in {heavy} if n in sys.modules])"
    assert python(code, PYTHONPATH=str(ROOT)).split() == []


def test_a_name_that_does_not_exist_suggests_the_nearest() -> None:
    with pytest.raises(AttributeError, match="did you mean 'simulate'"):
        _ = surrogates.simulat


def constraints() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def normal(name: str) -> str:
    """A distribution's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
