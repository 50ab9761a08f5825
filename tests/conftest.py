"""What every test stands on: annotations checked at run time, one thread, and a data folder of its own."""

from __future__ import annotations

from jaxtyping import install_import_hook

install_import_hook("surrogates", "beartype.beartype")  # before anything imports surrogates

import os  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
hypothesis.settings.register_profile("shared-machine", deadline=None)
hypothesis.settings.load_profile("shared-machine")


@pytest.fixture(scope="session", autouse=True)
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder ($SURROGATES_DATA) of this test process: empty at first, never the developer's own."""
    root = tmp_path_factory.mktemp("data")
    before = os.environ.get("SURROGATES_DATA")
    os.environ["SURROGATES_DATA"] = str(root)
    yield root
    if before is None:
        del os.environ["SURROGATES_DATA"]
    else:
        os.environ["SURROGATES_DATA"] = before
