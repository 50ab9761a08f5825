"""Networks: one a file, all behind the `Operator` contract, normalised to normalised."""

from surrogates.operators.dit import DiT
from surrogates.operators.factformer import FactFormer
from surrogates.operators.factorized_fno import FactorizedFNO
from surrogates.operators.fno import FNO
from surrogates.operators.galerkin import GalerkinTransformer
from surrogates.operators.ifactformer import IFactFormer
from surrogates.operators.latent_operator import LatentOperator
from surrogates.operators.mesh_graph_net import MeshGraphNet
from surrogates.operators.neuralop import NeuralOperator
from surrogates.operators.neuralop_geometry import FNOGNO, GINO
from surrogates.operators.transolver import Transolver

__all__ = [
    "FNO",
    "FNOGNO",
    "GINO",
    "DiT",
    "FactFormer",
    "FactorizedFNO",
    "GalerkinTransformer",
    "IFactFormer",
    "LatentOperator",
    "MeshGraphNet",
    "NeuralOperator",
    "Transolver",
]
