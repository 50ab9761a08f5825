"""What a case sets for its fluid, as parameters: the numbers at the top of transportProperties and physicalProperties, with their units.

nu              nu [0 2 -1 0 0 0 0] 1e-05;      nu, 1e-05 m2 s-1
nu              0.01;                           its units are those that OpenFOAM's solvers give to the name
transportModel  Newtonian;                      no number: left out
"""

from __future__ import annotations

from collections.abc import Container

from surrogates.data.foam import source
from surrogates.data.foam.case import Case, number_of

FILES = ("transportProperties", "physicalProperties")
UNITS = {"nu": "m2 s-1", "DT": "m2 s-1", "rho": "kg m-3", "sigma": "kg s-2", "beta": "K-1", "TRef": "K", "Pr": "1", "Prt": "1"}
"""Of names whose dimensions the solvers of v1912 fix (icoFoam, pimpleFoam, laplacianFoam, scalarTransportFoam, buoyantBoussinesq*)."""


def properties(case: Case, known: Container[str] = ()) -> dict[str, tuple[float, str]]:
    """name -> (value, units, "" where nobody says them), without those `known` already.

    Raises ValueError for a file that is not sound, or that leaves a value to code or to another file.
    """
    out: dict[str, tuple[float, str]] = {}
    for name in FILES:
        path = case.path / "constant" / name
        if not source.find(path):
            continue
        found = case.dictionary(f"constant/{name}")
        if found.included:
            raise ValueError(f"{path}: {found.included}; or leave the file out: options: {{properties: false}}")
        for key in (k for k in found if k not in known):
            value = found[key]
            items = value if isinstance(value, tuple) else (value,)
            if key.isidentifier() and isinstance(items[-1], int | float):
                number, units = number_of(value, f"{path}: {key}")
                out[key] = (number, units or UNITS.get(key, ""))
    return out
