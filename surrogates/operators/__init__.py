"""Networks: one a file, all behind the `Operator` contract, normalised to normalised."""

from surrogates.operators.fno import FNO
from surrogates.operators.neuralop import NeuralOperator

__all__ = ["FNO", "NeuralOperator"]
