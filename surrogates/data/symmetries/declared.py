"""Which symmetries each equation of this package has; tested on their solvers, step(g u) = g step(u)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from surrogates.data.symmetries.groups import Galilean, Reflect, Symmetry, Translate, Turn


def declared(equation: str, parameters: Mapping[str, Sequence[float]] | None = None) -> dict[str, Symmetry]:
    """The symmetries of an equation of `surrogates.pde`, by names of their own, for the values that its parameters take; {} if unknown."""
    values = dict(parameters or {})
    line: dict[str, Symmetry] = {"translate": Translate(), "reflect": Reflect(0, flips=("u",)), "galilean": Galilean()}
    if equation in ("kuramoto_sivashinsky", "burgers"):
        return line
    if equation == "forced_burgers":  # in law: the noise knows no place and no side, but it stands still
        return {"translate": Translate(), "reflect": Reflect(0, flips=("u",))}
    if equation == "kdv":
        return {"translate": Translate(), "galilean": Galilean(gain=1 / 6)}
    plane: dict[str, Symmetry] = {"translate": Translate(), "reflect": Reflect(0), "reflect_y": Reflect(1), "turn": Turn()}
    if equation in ("gray_scott", "wave", "riemann2d", "kelvin_helmholtz"):
        return plane
    if equation == "isotropic_turbulence":
        return {**plane, "reflect_z": Reflect(2)}
    if equation == "filtered_turbulence":  # the stress is a tensor, which reflects but does not turn here
        return {**{k: g for k, g in plane.items() if k != "turn"}, "reflect_z": Reflect(2)}
    if equation == "rayleigh_benard":
        return {"translate": Translate((0,)), "reflect": Reflect(0)}
    if equation == "richtmyer_meshkov":
        return {"translate": Translate((1,)), "reflect_y": Reflect(1)}
    if equation == "channel":
        return {"translate": Translate((0,)), "reflect_y": Reflect(1)}
    if equation == "advection":
        return {"translate": Translate()}
    if equation in ("kolmogorov2d", "passive_scalar2d"):
        return _kolmogorov(values)
    if equation in ("shallow_water", "barotropic_jet"):
        return {"translate": Translate((1,)), "reflect": Reflect(0, flips=("vorticity",))}
    return {}


def _kolmogorov(values: Mapping[str, Sequence[float]]) -> dict[str, Symmetry]:
    """Forced by (A sin(k y), 0): any shift along x, whole waves along y, half a turn, and x -> -x with half a wave along y."""
    if not any(values.get("forcing", (1.0,))):
        return {"translate": Translate(), "reflect": Reflect(0), "turn": Turn()}
    waves = {round(w) for w in values.get("wavenumber", (4,))}
    if len(waves) > 1:
        return {"translate": Translate((0,)), "turn": Turn(2, tuple(sorted(waves)))}
    k = waves.pop()
    return {"translate": Translate((0, 1), (0, k)), "turn": Turn(2, (k,)), "reflect": Reflect(0, shift=(1, k))}
