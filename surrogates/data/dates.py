"""Dates of any CF calendar, through cftime, which is imported when it is needed."""

from __future__ import annotations

from typing import Any


def cftime() -> Any:
    """The package. Raises ValueError, saying how to install it, where it is missing."""
    try:
        import cftime as package  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError('dates need cftime; install it with `pip install "pde-surrogates[io]"`') from error
    return package
