"""Networks: one a file, all behind the `Operator` contract, normalised to normalised."""

from surrogates.operators.fno import FNO

__all__ = ["FNO"]
