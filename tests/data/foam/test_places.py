"""A case as a mesh of cells, as a grid, at points: measures add up, neighbours are right, linear fields stay linear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from foam_case import FLAT, Style, block, centres, write_case, write_field, write_parallel

from surrogates.data.foam import Case
from surrogates.data.foam.cells import cells_of
from surrogates.data.foam.places import place
from surrogates.domains import Box, Masked, Mesh


def test_cells_in_the_plane(tmp_path: Path) -> None:
    """Nodes in two dimensions, areas, edges across faces, the corner cell marked by its last patch."""
    write_case(tmp_path, block((3, 2, 1), (3.0, 2.0, 0.1), FLAT))
    mesh = cells_of(Case(tmp_path)).mesh()
    assert (mesh.dim, mesh.units, mesh.names, mesh.edges.shape[1]) == (2, "m", ("xmin", "xmax", "ymin", "ymax"), 14)
    torch.testing.assert_close(mesh.measure, torch.ones(6, dtype=torch.float64))
    assert mesh.boundary("ymax").tolist() == [False] * 3 + [True] * 3 and mesh.boundary("xmin").sum() == 0  # corners are ymin's, ymax's
    x = mesh.points
    linear = (3 * x[:, 0] - 2 * x[:, 1])[None, None]
    torch.testing.assert_close(mesh.gradient(linear)[0, 0], torch.tensor([[3.0], [-2.0]], dtype=torch.float64).expand(2, 6))


def test_cyclic_patches_make_an_axis_periodic(tmp_path: Path) -> None:
    types = {**FLAT, "xmin": "cyclic", "xmax": "cyclic"}
    write_case(tmp_path, block((4, 2, 1), (2.0, 2.0, 1.0), types))
    mesh = cells_of(Case(tmp_path)).mesh()
    assert mesh.periods == (2.0, None) and mesh.names == ("ymin", "ymax") and mesh.edges.shape[1] == 2 * (8 + 4)
    assert float(mesh.relative.norm(dim=1).max()) == pytest.approx(1.0)  # no edge is as long as the box
    mesh = cells_of(Case(tmp_path), ["xmin", "xmax"]).mesh()
    assert mesh.periods == (None, None) and mesh.names == ("xmin", "xmax", "ymin", "ymax") and mesh.edges.shape[1] == 2 * (6 + 4)


@pytest.mark.parametrize("addressing", [True, False])
def test_a_cyclic_pair_cut_apart_is_still_periodic(addressing: bool, tmp_path: Path) -> None:
    """decomposePar leaves the cyclic patches without faces; cells, edges, periods and the box are those of the whole."""
    made = block((4, 2, 3), (2.0, 2.0, 3.0), {**dict.fromkeys(("xmin", "xmax", "zmin", "zmax"), "cyclic")})
    x = centres(made)
    write_case(tmp_path / "whole", made)
    whole = cells_of(Case(tmp_path / "whole"))
    for number, processor in enumerate((np.where(x[:, 2] < 1, 0, 1), (x[:, 0] > 1).astype(int), (x[:, 0] > 1) + 2 * (x[:, 2] > 2))):
        folder = tmp_path / str(number)
        write_parallel(folder, made, processor, addressing=addressing)
        case = Case(folder)
        cut = cells_of(case)
        assert cut.periods == whole.periods == (2.0, None, 3.0) and list(cut.patches) == list(whole.patches) and len(cut.pairs.T) == 60
        box = place(case, "box").domain
        assert isinstance(box, Box) and box.boundary == ("periodic", "wall", "periodic")
        apart = cells_of(case, ["xmin", "xmax"])
        assert apart.periods == (None, None, 3.0) and len(apart.pairs.T) == 60 - 6 and apart.kinds["xmin"] == "cyclic"
        np.testing.assert_allclose(apart.centres[apart.patches["xmin"], 0], [0.25] * 6)


def test_cyclic_patches_that_no_shift_joins(tmp_path: Path) -> None:
    made = block((4, 2, 1), types={**FLAT, "xmin": "cyclic", "ymin": "cyclic"})
    for one, other in (("xmin", "ymin"), ("ymin", "xmin")):
        kind, faces, _ = made.patches[one]
        made.patches[one] = (kind, faces, f"neighbourPatch {other};")
    write_case(tmp_path / "a", made)
    with pytest.raises(ValueError, match="are no pair: 2 and 4 faces"):
        cells_of(Case(tmp_path / "a"))
    made = block((2, 2, 1), types={**FLAT, "xmin": "cyclic", "ymin": "cyclic"})
    for one, other in (("xmin", "ymin"), ("ymin", "xmin")):
        kind, faces, _ = made.patches[one]
        made.patches[one] = (kind, faces, f"neighbourPatch {other};")
    write_case(tmp_path / "b", made)
    with pytest.raises(ValueError, match=r"a rotation\?.*unjoined: \[xmin, ymin\]"):
        cells_of(Case(tmp_path / "b"))
    kind, faces, _ = made.patches["xmin"]
    made.patches["xmin"] = ("cyclicAMI", faces, "neighbourPatch ymin;")
    made.save(tmp_path / "b/constant/polyMesh")
    with pytest.raises(ValueError, match="is 'cyclicAMI', whose faces do not match"):
        cells_of(Case(tmp_path / "b"))


def test_a_cell_without_volume(tmp_path: Path) -> None:
    made = block((2, 2, 2))
    made.points[:, 0] *= -1  # inside out
    write_case(tmp_path, made)
    with pytest.raises(ValueError, match="cell 0 has the volume -0.75 m3; checkMesh"):
        cells_of(Case(tmp_path))


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_grid(shuffled: bool, tmp_path: Path) -> None:
    made = block((4, 3, 2), (2.0, 3.0, 1.0), {"xmin": "cyclic", "xmax": "cyclic"})
    if shuffled:  # cells in any order
        order = np.random.default_rng(0).permutation(made.cells)
        made.owner, made.neighbour = ([int(order[c]) for c in cells] for cells in (made.owner, made.neighbour))
    write_case(tmp_path, made)
    case = Case(tmp_path)
    where = place(case, "box")
    box = where.domain
    assert isinstance(box, Box) and box.shape == (4, 3, 2) and box.boundary == ("periodic", "wall", "wall") and box.units == "m"
    about = case.about("p", 1.0)
    assert about is not None
    x, y, _ = box.grid()
    np.testing.assert_allclose(where.take(case, about, 1.0)[..., 0], x * y + 1.0, rtol=1e-6)


def test_a_stretched_grid_and_one_with_holes(tmp_path: Path) -> None:
    made = block((4, 3, 1), types=FLAT, holes=[5])
    made.points[:, 0] = made.points[:, 0] ** 2
    write_case(tmp_path, made)
    case = Case(tmp_path)
    where = place(case, "box")
    assert isinstance(where.domain, Masked) and where.domain.wet.sum() == 11 and not where.domain.wet[1, 1]
    about = case.about("p", 0.0)
    assert about is not None
    frame = where.take(case, about, 0.0)[..., 0]
    x, y = where.domain.box.grid()
    assert np.isnan(frame[1, 1]) and where.patches["hole"] == "wall"
    np.testing.assert_allclose(frame[~np.isnan(frame)], (x * y).numpy()[where.domain.wet.numpy()], rtol=1e-6)
    np.testing.assert_allclose(where.domain.box.widths(0).sum(), 9.0)


def test_cells_that_form_no_grid(tmp_path: Path) -> None:
    made = block((4, 3, 1), types=FLAT)
    made.points[:, :2] += 0.1 * made.points[:, 1::-1] ** 2
    write_case(tmp_path, made)
    with pytest.raises(ValueError, match=r"form no grid of boxes; read them as a mesh: options: \{as: cells\}"):
        place(Case(tmp_path), "box")


@pytest.mark.parametrize("types", [FLAT, {}], ids=["plane", "space"])
def test_points(types: dict[str, str], tmp_path: Path) -> None:
    """A field that is constant stays so; in the plane the triangles fill it; inside, a linear field stays linear."""
    made = block((4, 4, 1 if types else 4), (1.0, 1.0, 1.0), types)
    write_case(tmp_path, made, times=("0",))
    x = centres(made)
    sides = {name: f"type fixedValue; value {linear_on(made, name)};" for name, (kind, *_) in made.patches.items() if kind == "patch"}
    write_field(tmp_path / "0/T", 1 + 2 * x[:, 0] - x[:, 1], made, dimensions="[0 0 0 1 0 0 0]", patches=sides)
    write_field(tmp_path / "0/one", np.array(3.0), made, uniform=True)
    case = Case(tmp_path)
    where = place(case, "points")
    mesh = where.domain
    assert isinstance(mesh, Mesh) and mesh.dim == (2 if types else 3) and mesh.cells is not None
    assert float(mesh.measure.sum()) == pytest.approx(1.0)
    frames = {}
    for name in ("T", "one"):
        about = case.about(name, 0.0)
        assert about is not None
        frames[name] = where.take(case, about, 0.0)[:, 0]
    np.testing.assert_allclose(frames["one"], 3.0, rtol=1e-6)
    points = mesh.points.numpy()
    deep = ((points > 0.01) & (points < 0.99)).all(1)
    assert deep.sum() == 3**mesh.dim
    np.testing.assert_allclose(frames["T"][deep], (1 + 2 * points[:, 0] - points[:, 1])[deep], rtol=1e-6)
    if types:
        corner = mesh.points[mesh.cells]
        u, v = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
        assert float((u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).abs().sum() / 2) == pytest.approx(1.0)


def linear_on(made, name: str) -> str:  # type: ignore[no-untyped-def]
    x = np.array([made.points[made.faces[f]].mean(0) for f in made.patches[name][1]])
    return "nonuniform List<scalar> " + Style().numbers(1 + 2 * x[:, 0] - x[:, 1]).decode()


def test_fields_at_points(tmp_path: Path) -> None:
    made = write_case(tmp_path, times=("0",))
    write_field(tmp_path / "0/pointD", made.points * 2, made, location="point")
    case = Case(tmp_path)
    where = place(case, "points")
    about = case.about("pointD", 0.0)
    assert about is not None and about.location == "point" and where.columns(about) == (0, 1)
    np.testing.assert_allclose(where.take(case, about, 0.0)[:, :2], 2 * where.domain.points, rtol=1e-6)  # type: ignore[union-attr]
