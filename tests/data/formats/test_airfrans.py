"""AirfRANS' folders, and VTK's polygon files in each encoding that they may have."""

from __future__ import annotations

import base64
import json
import weakref
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from surrogates.data.conversion import convert
from surrogates.data.cuts import Split
from surrogates.data.formats import Given, open_parts, vtp
from surrogates.data.formats import airfrans as reader
from surrogates.data.formats.meshio_frames import Files
from surrogates.data.mesh_windows import MeshWindows, windows_of
from surrogates.domains import Mesh
from surrogates.domains.layout import same
from surrogates.interchange import declared, domain_of, fields_of, from_xarray, parameters_of, static_of

meshio = pytest.importorskip("meshio")
NAMES = ("airFoil2D_SST_43.597_5.932_3.551_3.1_1.0_18.252", "airFoil2D_SST_58.831_-3.563_2.815_4.916_10.078")
FORMS = ("ascii", "binary", "binary-zlib", "base64", "base64-zlib", "raw", "raw-zlib")


def packed(values: np.ndarray, zipped: bool, base: bool, block: int = 64) -> bytes:
    """The bytes of an array as VTK writes them: UInt64 heads, blocks of 64 bytes where compressed."""
    data = values.tobytes()
    if not zipped:
        whole = np.uint64(len(data)).tobytes() + data
        return base64.b64encode(whole) if base else whole
    parts = [zlib.compress(data[i : i + block]) for i in range(0, len(data), block)]
    head = np.array([len(parts), block, len(data) % block, *map(len, parts)], "<u8").tobytes()
    body = b"".join(parts)
    return base64.b64encode(head) + base64.b64encode(body) if base else head + body


def write_vtp(path: Path, points: np.ndarray, lines: np.ndarray, data: dict[str, np.ndarray], form: str) -> None:
    appended, zipped, base = b"", form.endswith("zlib"), "raw" not in form
    kinds = {"f4": "Float32", "f8": "Float64", "i8": "Int64"}

    def array(name: str, values: np.ndarray) -> str:
        nonlocal appended
        wide = values.shape[1] if values.ndim > 1 else 1
        head = f'<DataArray type="{kinds[values.dtype.str[1:]]}" Name="{name}" NumberOfComponents="{wide}"'
        if form == "ascii":
            return f'{head} format="ascii">{" ".join(repr(v) for v in values.ravel().tolist())}</DataArray>'
        if form.startswith("binary"):
            return f'{head} format="binary">{packed(values, zipped, True).decode()}</DataArray>'
        head = f'{head} format="appended" offset="{len(appended)}"/>'
        appended += packed(values, zipped, base)
        return head

    body = f"<Points>{array('Points', points)}</Points><PointData>{''.join(array(n, v) for n, v in data.items())}</PointData>"
    ends = np.arange(2, 2 * len(lines) + 1, 2)
    body += f"<Lines>{array('connectivity', lines.ravel())}{array('offsets', ends)}</Lines>"
    kind = ' compressor="vtkZLibDataCompressor"' if zipped else ""
    text = f'<?xml version="1.0"?>\n<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64"{kind}><PolyData>'
    text += f'<Piece NumberOfPoints="{len(points)}" NumberOfLines="{len(lines)}">{body}</Piece></PolyData>'
    tail = f'<AppendedData encoding="{"base64" if base else "raw"}">_'.encode() + appended + b"</AppendedData>" if appended else b""
    path.write_bytes(text.encode() + tail + b"</VTKFile>")


def loop() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inner side of the flow's mesh, as the profile: points, lines, normals."""
    x = np.array([[1 / 3, 1 / 3], [2 / 3, 1 / 3], [2 / 3, 2 / 3], [1 / 3, 2 / 3]])
    points = np.concatenate([x, np.full((4, 1), 0.5)], 1).astype(np.float32)
    return points, np.array([[0, 1], [1, 2], [2, 3], [3, 0]]), np.concatenate([0.5 - x, np.zeros((4, 1))], 1).astype(np.float32)


def simulation(folder: Path, form: str = "base64-zlib") -> None:
    """A square with the middle one of nine cells cut out, in quadrilaterals, as the files of AirfRANS have them."""
    at = np.arange(16).reshape(4, 4)
    x, y = (a.ravel() / 3 for a in np.meshgrid(np.arange(4), np.arange(4), indexing="ij"))
    points = np.stack([x, y, 0 * x + 0.5], 1).astype(np.float32)
    quads = np.array([[at[i, j], at[i + 1, j], at[i + 1, j + 1], at[i, j + 1]] for i in range(3) for j in range(3) if (i, j) != (1, 1)])
    data = {"U": np.stack([x, y, 0 * x], 1).astype(np.float32), "p": (x * y).astype(np.float32), "nut": x.astype(np.float32)}
    data["implicit_distance"] = -np.abs(x - 0.5).astype(np.float32)
    folder.mkdir(parents=True)
    meshio.write(folder / f"{folder.name}_internal.vtu", meshio.Mesh(points, [("quad", quads)], data))
    profile, lines, normals = loop()
    write_vtp(folder / f"{folder.name}_aerofoil.vtp", profile, lines, {"Normals": normals, "p": normals[:, 0].copy()}, form)
    outer = np.unique(np.concatenate([at[0], at[-1], at[:, 0], at[:, -1]]))
    write_vtp(folder / f"{folder.name}_freestream.vtp", points[outer], np.array([[0, 1]]), {}, form)


@pytest.mark.parametrize("form", FORMS)
def test_polygon_files_in_every_encoding(tmp_path: Path, form: str) -> None:
    points, lines, normals = loop()
    write_vtp(tmp_path / "a.vtp", points, lines, {"Normals": normals, "s": np.arange(4.0)}, form)
    found = vtp.read(tmp_path / "a.vtp")
    np.testing.assert_array_equal(found.points, points)
    np.testing.assert_array_equal(found.lines, lines)
    np.testing.assert_array_equal(found.point_data["Normals"], normals)
    np.testing.assert_array_equal(found.point_data["s"], np.arange(4.0))


@pytest.mark.parametrize("form", FORMS[1:])
def test_polygon_files_declare_no_more_than_there_is(tmp_path: Path, form: str) -> None:
    path, (points, lines, normals) = tmp_path / "a.vtp", loop()
    write_vtp(path, points, lines, {"Normals": normals}, form)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'NumberOfPoints="4"', b'NumberOfPoints="400000000000"'))
    with pytest.raises(ValueError, match=r"a.vtp: 'Points'"):
        vtp.read(path)
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"a\.vtp"):
            vtp.read(path)


def test_a_simulation_is_a_frame_with_its_inputs(tmp_path: Path) -> None:
    for name in NAMES:
        simulation(tmp_path / name)
    assert reader.recognises(tmp_path)
    one, other = open_parts(tmp_path)["all"]
    assert {k: v.tolist() for k, v in parameters_of(one).items()} == {
        "speed": [43.597], "angle": [5.932], "digits": [5.0], "camber": [0.0], "lift": [3.551], "position": [3.1], "reflex": [1.0],
        "thickness": [18.252],
    }  # fmt: skip
    assert float(other["digits"][0]) == 4 and float(other["angle"][0]) == -3.563 and other.trajectory.values.tolist() == [1]
    mesh = domain_of(one)
    np.testing.assert_allclose(mesh.volumes, [8 / 9], rtol=1e-6)
    assert mesh.names == ("aerofoil", "freestream") and int(mesh.boundary("aerofoil").sum()) == 4
    assert fields_of(one).units == ("m s-1", "m s-1", "m2 s-2", "m2 s-1")
    x, y = mesh.points.T.float()
    torch.testing.assert_close(from_xarray(one)[0, 0], torch.stack([x, y, x * y, x]))
    names = declared(one, "static").channels
    static = dict(zip(names, static_of(one)[0], strict=True))
    angle = np.deg2rad(5.932)
    np.testing.assert_allclose(
        [float(static["inflow_x"][0]), float(static["inflow_y"][3])], 43.597 * np.array([np.cos(angle), np.sin(angle)]), rtol=1e-6
    )
    torch.testing.assert_close(static["distance"], (x - 0.5).abs())
    on = mesh.boundary("aerofoil")
    assert torch.equal(static["boundary_aerofoil"] > 0, on)
    torch.testing.assert_close(torch.stack([static["normal_x"], static["normal_y"]])[:, on], 0.5 - torch.stack([x, y])[:, on])
    assert not static["normal_x"][~on].any()


def test_a_manifest_says_the_splits(tmp_path: Path) -> None:
    for name in NAMES:
        simulation(tmp_path / name)
    tasks = {"full_train": [NAMES[0]], "full_test": [NAMES[1]], "scarce_train": [NAMES[1]], "aoa_train": ["../x"], "aoa_test": []}
    (tmp_path / "manifest.json").write_text(json.dumps(tasks))
    parts = open_parts(tmp_path, given=Given(options={"task": "full"}))
    assert {s: [float(p["speed"][0]) for p in found] for s, found in parts.items()} == {"train": [43.597], "test": [58.831]}
    assert len(open_parts(tmp_path, given=Given(options={"task": "scarce"}))["test"]) == 1
    with pytest.raises(ValueError, match="leads out of the folder"):
        open_parts(tmp_path, given=Given(options={"task": "aoa"}))
    with pytest.raises(ValueError, match="no list of names 'reynolds_train'"):
        open_parts(tmp_path, given=Given(options={"task": "reynolds"}))


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not airFoil2D_SST_<speed>_<angle>"):
        reader.flow_of("airFoil2D_SST_43.597", "here")
    folder = tmp_path / NAMES[0]
    simulation(folder)
    points, lines, normals = loop()
    write_vtp(folder / f"{NAMES[0]}_aerofoil.vtp", points + np.float32(0.1), lines, {"Normals": normals}, "ascii")
    with pytest.raises(ValueError, match=r"point 0 is no point of the flow's mesh|point \d is no point"):
        open_parts(tmp_path, format="airfrans")


def read_counter(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose arrays were read, as often as they were."""
    read: list[str] = []
    whole = Files.frame
    monkeypatch.setattr(Files, "frame", lambda self, t: (read.append(self.where(t)), whole(self, t))[1])
    return read


def several(root: Path, count: int) -> list[str]:
    names = [f"airFoil2D_SST_{30 + n}.5_5.932_3.551_3.1_1.0_18.252" for n in range(count)]
    for name in names:
        simulation(root / name, "raw")
    return names


def test_opening_reads_no_arrays_and_looking_reads_a_simulation_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, read = several(tmp_path, 5), read_counter(monkeypatch)
    parts = open_parts(tmp_path)["all"]
    assert not read and [p.sizes["node"] for p in parts] == [16] * 5
    u, mesh = from_xarray(parts[2]), domain_of(parts[2])
    torch.testing.assert_close(u[0, 0, 0], mesh.points[:, 0].float())
    torch.testing.assert_close(static_of(parts[2])[0, :2], torch.stack([mesh.boundary(n) for n in mesh.names]).float())
    np.testing.assert_array_equal(parts[2].x.values, mesh.points[:, 0])
    assert read == [str(tmp_path / names[2] / f"{names[2]}_internal.vtu")]


def test_conversion_holds_a_few_simulations_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, read = several(tmp_path / "in", 4), read_counter(monkeypatch)
    monkeypatch.setattr("surrogates.data.lately.MOST", 1)
    alive: list[weakref.ref[Mesh]] = []
    most, whole = 0, reader._read

    def counted(folder: Path, given: Given) -> reader._Read:
        nonlocal most
        out = whole(folder, given)
        alive.append(weakref.ref(out.mesh))
        most = max(most, sum(m() is not None for m in alive))
        return out

    monkeypatch.setattr(reader, "_read", counted)
    folder = convert(tmp_path / "in", tmp_path / "out", split=Split(train=1.0), quiet=True)
    assert most <= 3 and all(read.count(str(tmp_path / "in" / n / f"{n}_internal.vtu")) <= 2 for n in names)
    for one, other in zip(open_parts(folder)["train"], open_parts(tmp_path / "in")["all"], strict=True):
        assert torch.equal(from_xarray(one), from_xarray(other)) and torch.equal(static_of(one), static_of(other))
        assert same(domain_of(one), domain_of(other))


def test_points_of_no_cell_are_told_when_they_are_read(tmp_path: Path) -> None:
    for name in NAMES:
        simulation(tmp_path / name)
    path = tmp_path / NAMES[0] / f"{NAMES[0]}_internal.vtu"
    mesh = meshio.read(path)
    data = {n: np.concatenate([u, u[:1]]) for n, u in mesh.point_data.items()}
    meshio.write(path, meshio.Mesh(np.concatenate([mesh.points, [[9, 9, 0.5]]]), mesh.cells, data))
    parts = open_parts(tmp_path)["all"]
    with pytest.raises(ValueError, match=r"_internal.vtu: 1 of its 17 points belong to no cell"):
        domain_of(parts[0])


def test_a_steady_flow_has_no_windows_but_a_map_has(tmp_path: Path) -> None:
    for name in NAMES:
        simulation(tmp_path / name)
    for make in (windows_of, MeshWindows):
        with pytest.raises(ValueError, match=r"steady: .* one frame.*first guess.*options: \{guess: inflow\}"):
            make(open_parts(tmp_path)["all"], split="train")
    with pytest.raises(ValueError, match="options.guess is 'zero' but must be inflow"):
        open_parts(tmp_path, given=Given(options={"guess": "zero"}))
    plain, parts = (open_parts(tmp_path, given=given)["all"] for given in (None, Given(options={"guess": "inflow"})))
    windows = MeshWindows(parts, split="train")
    assert len(windows) == 2
    batch = windows.batch([1])
    assert batch.conditions.dt.tolist() == [1.0] and torch.equal(batch.future[0, 0], from_xarray(plain[1])[0, 0])
    angle = np.deg2rad(-3.563)
    expected = torch.tensor([58.831 * np.cos(angle), 58.831 * np.sin(angle), 0, 0], dtype=torch.float32)
    torch.testing.assert_close(batch.past[0, 0], expected[:, None].expand(4, 16))
