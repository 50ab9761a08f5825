"""Damaged and hostile files in every format: a ValueError (or an OSError) that names what is damaged comes out, or the data; nothing else.

What is read all the same must be right: variables that do not lie in the damaged file or array have the values of the sound source.

Tiny sound sources (`fuzz_sources`) are damaged byte by byte, word by word and array by array, and read in a child process (`fuzz_guard`)
that may not crash, take memory beyond a bound, run anything, unpickle, or open a file outside. The same examples each time; `-m slow` tries
many more.
"""

from __future__ import annotations

import gzip
import pickle
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from fuzz_guard import MARK, Outcome, read_all, read_guarded
from fuzz_sources import SOURCES, Source
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

NUMBERS = (b"0", b"-1", b"1", b"7", b"99999999999", b"4611686018427387904", b"9" * 60, b"nan", b"-inf", b"1e999", b"1e-999", b"x", b"")
WORDS = (
    b"../../secret",
    b"/etc/passwd",
    b"",
    b"\xff\xfe",
    b"a" * 5000,
    b"(((((((((",
    b"{{{{{{{{{{",
    b'"',
    b"#include",
    b"$x",
    b"[[[[",
    b"!!python/object",
)
ARRAYS = (
    "gone",
    "huge",
    "objects",
    "text",
    "reversed",
    "same",
    "nan",
    "big-endian",
    "infinite",
    "outside",
    "nowhere",
    "scalar",
    "group",
    "empty",
    "cut",
    "external",
)
ATTRIBUTES = ("gone", 10**18, -1, 1.5, float("nan"), "../../secret", "", b"\xff", [1, 2, 3], ["a", "b", "c", "d"], float("inf"))


@st.composite
def damages(draw: st.DrawFn) -> tuple[Any, ...]:
    """(kind, which file, where, what)"""
    where = draw(st.integers(0, 10**6))
    kind = draw(
        st.sampled_from(["cut", "flip", "number", "number", "word", "array", "array", "attribute", "swap", "empty", "copy", "grow"])
    )
    what = draw(
        {
            "flip": st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=8),
            "number": st.sampled_from(NUMBERS),
            "word": st.sampled_from(WORDS),
            "array": st.sampled_from(ARRAYS),
            "attribute": st.sampled_from(ATTRIBUTES),
        }.get(kind, st.none())
    )
    return kind, draw(st.integers(0, 10**4)), where, what


def is_hdf5(path: Path) -> bool:
    return h5py.is_hdf5(path)


class Damage(NamedTuple):
    """What was done, to which file, and in HDF5 to which array, or array or group whose attribute it is."""

    said: str
    path: Path
    array: str | None = None


def damage(folder: Path, secret: Path, kind: str, which: int, where: int, what: Any) -> Damage:
    """Do it."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    path = files[which % len(files)]
    said = f"{kind} {what!r} in {path.relative_to(folder)} at {where}"
    if kind in ("array", "attribute"):
        stores = [p for p in files if is_hdf5(p)]
        if stores:
            path = stores[which % len(stores)]
            said, array = in_hdf5(path, secret, kind, where, what)
            return Damage(f"{path.name}: {said}", path, array)
        kind, what = "number", NUMBERS[where % len(NUMBERS)]
    data = path.read_bytes()
    packed = path.suffix == ".gz" and kind in ("number", "word")
    data = gzip.decompress(data) if packed else data
    at = where % max(1, len(data))
    match kind:
        case "cut":
            data = data[:at]
        case "empty":
            data = b""
        case "grow":
            data = data + data[at:]
        case "flip":
            changed = bytearray(data)
            for place, bits in what:
                if changed:
                    changed[place % len(changed)] ^= bits
            data = bytes(changed)
        case "swap":
            data = files[where % len(files)].read_bytes()
        case "copy":
            shutil.copy(path, path.with_name(f"{path.stem}0{path.suffix}"))
        case "number" | "word":
            found = list(re.finditer(rb"-?\d[\d.]*(?:e-?\d+)?" if kind == "number" else rb"[A-Za-z_]\w+", data))
            if found:
                chosen = found[where % len(found)]
                data = data[: chosen.start()] + what + data[chosen.end() :]
                said += f" ({chosen.group()[:30]!r})"
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    return Damage(said, path)


def in_hdf5(path: Path, secret: Path, kind: str, where: int, what: Any) -> tuple[str, str]:
    """Another array or attribute, as a program might have written it; what was done, and to which array or group."""
    with h5py.File(path, "r+") as f:
        arrays: list[str] = []
        f.visititems(lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
        if kind == "attribute":
            owners = [o for o in ["/", *f, *arrays] if len(f[o].attrs)]
            if not owners:
                return "no attributes", ""
            owner = f[owners[where % len(owners)]]
            key = sorted(owner.attrs)[where // 7 % len(owner.attrs)]
            if what == "gone":
                del owner.attrs[key]
            else:
                owner.attrs[key] = what
            return f"attribute {key} of {owner.name} -> {what!r}", owner.name
        name = arrays[where % len(arrays)]
        old = f[name]
        shape, values, attrs = old.shape, old[()] if old.dtype.kind in "fiub" else np.zeros(old.shape), dict(old.attrs)
        del f[name], old
        put(f, name, shape, values, what, secret)
        if isinstance(f.get(name, getlink=True), h5py.HardLink):
            for key, value in attrs.items():
                if (
                    isinstance(value, str | bytes | int | float | np.ndarray | np.generic)
                    and getattr(getattr(value, "dtype", None), "kind", "f") != "O"
                ):
                    f[name].attrs[key] = value
        return f"array {name} -> {what}", name


def put(f: h5py.File, name: str, shape: tuple[int, ...], values: Any, what: str, secret: Path) -> None:
    match what:
        case "huge":
            f.create_dataset(name, (*shape[:-1], 10**12) if shape else (10**12,), "f4", chunks=(*(1 for _ in shape[:-1]), 1024))
        case "objects" | "text":
            f.create_dataset(name, data=np.full(shape or (1,), "x" * 20, dtype=object), dtype=h5py.string_dtype())
        case "reversed":
            f[name] = values[::-1] if shape else -values
        case "same":
            f[name] = np.zeros_like(values) + (values.ravel()[0] if np.size(values) else 0)
        case "nan" | "infinite":
            f[name] = np.full(shape, np.nan if what == "nan" else np.inf)
        case "big-endian":
            f[name] = np.asarray(values).astype(np.asarray(values).dtype.newbyteorder(">"))
        case "outside":
            f[name] = h5py.ExternalLink(str(secret / "secret.h5"), "/a")
        case "external":
            size = 4 * max(1, int(np.prod(shape)))
            f.create_dataset(name, shape or (1,), "f4", external=[(str(secret / "raw"), 0, size)])
        case "nowhere":
            f[name] = h5py.SoftLink(f"/{name}")
        case "scalar":
            f[name] = 1.0
        case "group":
            f.create_group(name)
        case "empty":
            f[name] = np.zeros((0, *shape[1:]), np.float32)
        case "cut":
            f[name] = values[:-1] if shape and shape[0] > 1 else values


class Sound(dict[str, Path]):
    """The sound sources by name, made when they are asked for; beside them, in `secret`, what no reader should reach."""

    def __init__(self, root: Path) -> None:
        self.root, self.secret = root, root / "secret"
        self.values: dict[str, dict[str, str]] = {}
        self.secret.mkdir()
        with h5py.File(self.secret / "secret.h5", "w") as f:
            f["a"] = np.full((2, 3, 4), MARK, np.float32)
        np.full(10**4, MARK, np.float32).tofile(self.secret / "raw")

    def __missing__(self, name: str) -> Path:
        folder = self.root / name.replace(", ", "-")
        folder.mkdir()
        self[name] = SOURCES[name].build(folder)
        source = SOURCES[name]
        self.values[name] = read_all(self[name], source.format, source.given)  # imports what is imported late, once for all children
        return self[name]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    return Sound(tmp_path_factory.mktemp("fuzz"))


CONTAINERS = (".h5", ".hdf5", ".nc", ".cgns", ".vtu", ".vtk", ".xdmf", ".msh")
"""Of these, bytes may belong to any variable."""
HDF5 = (".h5", ".hdf5", ".nc", ".cgns")
"""Where bytes of their own structures are damaged, the library may go round in circles (seen in its H5DSget_num_scales): it takes no time
limit, and no reader in its process can set one."""
OF_ALL = (".zmetadata",)
"""What says how all the others are read."""
FILES = {"velocity_x": {"u", "vx"}, "velocity_y": {"v", "vy"}, "u": {"tensor"}, "temperature_2m": {"2m_temperature"}}
"""Of variables that lie in a file or an array of another name."""


def untouched(done: Damage, folder: Path, values: Mapping[str, str]) -> list[str]:
    """The variables that do not lie in what was damaged."""
    if done.array is None and (done.path.suffix in CONTAINERS or done.path.name in OF_ALL):
        return []
    parts = set(re.split(r"[/.]", (done.array if done.array is not None else str(done.path.relative_to(folder))).lower()))
    names = {v: v.split("/")[-1].lower() for v in values}
    return [v for v, n in names.items() if not {n, n.rpartition("_")[0], n.replace("_", ""), *FILES.get(n, ())} & parts]


def fault(outcome: Outcome, done: Damage, folder: Path, sound: Mapping[str, str]) -> str:
    """What is wrong with it; "" for nothing."""
    if outcome.seen:
        return f"something was run, or opened outside: {outcome.seen}"
    if outcome.kind == "ok":
        other = [v for v in untouched(done, folder, sound) if outcome.values.get(v) != sound[v]]
        return f"{other} lie elsewhere, and are not what they were" if other else ""
    if outcome.kind == "signal" and outcome.message == "SIGALRM" and done.array is None and done.path.suffix in HDF5:
        return ""
    if outcome.kind not in ("ValueError", "OSError"):
        return f"{outcome.kind} came out"
    return "" if any(name in outcome.message for name in names_of(done, folder)) else "the damaged file is not named"


def names_of(done: Damage, folder: Path) -> list[str]:
    """What an error may call it: its name; where bytes of HDF5 are damaged, its folder; the store of a file of Zarr; a case's mesh."""
    stores = [p.name for p in done.path.parents if p.suffix == ".zarr"]
    lost = [folder.name] if done.array is None and done.path.suffix in HDF5 else []
    mesh = [p.name for p in done.path.parents if p.name == "polyMesh"]  # its files contradict each other: any may be the wrong one
    light = done.path.with_suffix(".xdmf")  # it says where arrays lie, and errors about these name it
    told = [light.name] if done.array is not None and light.is_file() else []
    return [done.path.name.removesuffix(".gz"), *stores, *lost, *mesh, *told]


def check(name: str, sound: Sound, damage_of: tuple[Any, ...]) -> None:
    source: Source = SOURCES[name]
    path = sound[name]
    home = sound.root / path.relative_to(sound.root).parts[0]
    spoiled = home.with_name("spoiled")
    shutil.rmtree(spoiled, ignore_errors=True)
    shutil.copytree(home, spoiled)
    done = damage(spoiled, sound.secret, *damage_of)
    outcome = read_guarded(spoiled / path.relative_to(home), source.format, source.given, sound.secret)
    wrong = fault(outcome, done, spoiled, sound.values[name])
    assert not wrong, f"{name}: after {done.said}: {wrong}\n{outcome}"


@pytest.mark.parametrize("name", SOURCES)
def test_sound_sources_are_read(name: str, sound: Sound) -> None:
    outcome = read_guarded(sound[name], SOURCES[name].format, SOURCES[name].given, sound.secret)
    assert outcome.kind == "ok" and not outcome.seen, outcome


SHARED: dict[str, Any] = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.generate],
}


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=8, **SHARED)
@given(damage_of=damages())
def test_damaged_sources_are_told_or_read(name: str, sound: Sound, damage_of: tuple[Any, ...]) -> None:
    check(name, sound, damage_of)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=400, **SHARED)
@given(damage_of=damages())
def test_many_damaged_sources(name: str, sound: Sound, damage_of: tuple[Any, ...]) -> None:
    check(name, sound, damage_of)


class Bomb:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled_or_run(tmp_path: Path, sound: Sound) -> None:
    touched = tmp_path / "touched"
    shutil.copytree(sound["npy"], tmp_path / "npy")
    np.save(tmp_path / "npy/u.npy", np.array([Bomb(touched)], dtype=object), allow_pickle=True)
    outcomes = [read_guarded(tmp_path / "npy", "npy", {}, sound.secret)]
    (tmp_path / "npy/u.npy").write_bytes(pickle.dumps(Bomb(touched)))
    outcomes.append(read_guarded(tmp_path / "npy", "npy", {}, sound.secret))
    shutil.copytree(sound["npy"], tmp_path / "yaml")
    (tmp_path / "yaml/source.yaml").write_text(f'name: !!python/object/apply:os.system ["touch {touched}"]\n')
    outcomes.append(read_guarded(tmp_path / "yaml", "npy", {}, sound.secret))
    shutil.copytree(sound["openfoam"], tmp_path / "case")
    text = (tmp_path / "case/1/U").read_text()
    code = f'#codeStream {{ code #{{ system("touch {touched}"); #}}; }};'
    (tmp_path / "case/1/U").write_text(re.sub(r"nonuniform List<vector> [^;]*;", lambda _: code, text))
    outcomes.append(read_guarded(tmp_path / "case", "openfoam", {}, sound.secret))
    assert [o.kind for o in outcomes] == ["ValueError"] * 4 and not any(o.seen for o in outcomes), outcomes
    assert "codeStream would run code" in outcomes[-1].message and not touched.exists()
