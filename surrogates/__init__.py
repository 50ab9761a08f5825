"""Neural operators as flow and diffusion surrogates of PDEs: trained, rolled out under conservation laws, scored honestly.

    import surrogates as sg

    surrogate = sg.load("runs/demo")
    truth = sg.open_dataset("kolmogorov2d", split="test")
    forecast = sg.simulate(surrogate, truth.isel(time=0), frames=200, members=16)
    scores = sg.score(forecast, truth)

Names are imported when they are first asked for (PEP 562), so that `import surrogates` loads neither torch nor anything heavier.
Importing it tunes the C allocator for large arrays (`surrogates._machine`); set SURROGATES_ALLOCATOR=0 to leave that alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from surrogates import _machine

if TYPE_CHECKING:
    from surrogates.assimilation import Assimilation
    from surrogates.contracts import Conditions
    from surrogates.data import open_dataset
    from surrogates.deep_ensemble import DeepEnsemble
    from surrogates.domains import Box
    from surrogates.fields import Field, Fields
    from surrogates.forecast import Keep, continue_from, open_forecast, simulate
    from surrogates.metrics import score
    from surrogates.noise import SeededNoise
    from surrogates.rolling import Rolling
    from surrogates.saved import load, save
    from surrogates.surrogate import Surrogate

__version__ = "0.1.0"

__all__ = [
    "Assimilation",
    "Box",
    "Conditions",
    "DeepEnsemble",
    "Field",
    "Fields",
    "Keep",
    "Rolling",
    "SeededNoise",
    "Surrogate",
    "__version__",
    "continue_from",
    "load",
    "open_dataset",
    "open_forecast",
    "save",
    "score",
    "simulate",
]

_HOME = {
    "Assimilation": "assimilation",
    "Box": "domains",
    "Conditions": "contracts",
    "DeepEnsemble": "deep_ensemble",
    "Field": "fields",
    "Fields": "fields",
    "Keep": "forecast",
    "Rolling": "rolling",
    "SeededNoise": "noise",
    "Surrogate": "surrogate",
    "continue_from": "forecast",
    "load": "saved",
    "open_dataset": "data",
    "open_forecast": "forecast",
    "save": "saved",
    "score": "metrics",
    "simulate": "forecast",
}
_ROOMS = (
    "bench",
    "constraints",
    "data",
    "domains",
    "forecast",
    "heads",
    "hybrid",
    "latent",
    "metrics",
    "operators",
    "pde",
    "refine",
    "rollout",
    "train",
    "unconditional",
)

_machine.tune_allocator()


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME:
        from surrogates.errors import nearest

        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{nearest(name, (*_HOME, *_ROOMS))}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
