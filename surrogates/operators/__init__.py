"""Networks: one a file, all behind the `Operator` contract, normalised to normalised."""

from surrogates.operators.classic_unet import ClassicUNet
from surrogates.operators.codano import CoDANO
from surrogates.operators.convnet import ConvNet
from surrogates.operators.dilated_resnet import DilatedResNet
from surrogates.operators.dit import DiT
from surrogates.operators.factformer import FactFormer
from surrogates.operators.factorized_fno import FactorizedFNO
from surrogates.operators.fno import FNO
from surrogates.operators.galerkin import GalerkinTransformer
from surrogates.operators.ifactformer import IFactFormer
from surrogates.operators.latent_operator import LatentOperator
from surrogates.operators.mesh_graph_net import MeshGraphNet
from surrogates.operators.message_passing import MPPDE
from surrogates.operators.multiscale_gnn import MultiscaleGNN
from surrogates.operators.neuralop import NeuralOperator
from surrogates.operators.neuralop_geometry import FNOGNO, GINO
from surrogates.operators.resnet import ResNet
from surrogates.operators.scot import ScOT
from surrogates.operators.sinenet import SineNet
from surrogates.operators.spherical_fno import SphericalFNO
from surrogates.operators.stabilised_fno import StabilisedFNO
from surrogates.operators.transolver import Transolver
from surrogates.operators.unet import UNet

__all__ = [
    "FNO",
    "FNOGNO",
    "GINO",
    "MPPDE",
    "ClassicUNet",
    "CoDANO",
    "ConvNet",
    "DiT",
    "DilatedResNet",
    "FactFormer",
    "FactorizedFNO",
    "GalerkinTransformer",
    "IFactFormer",
    "LatentOperator",
    "MeshGraphNet",
    "MultiscaleGNN",
    "NeuralOperator",
    "ResNet",
    "ScOT",
    "SineNet",
    "SphericalFNO",
    "StabilisedFNO",
    "Transolver",
    "UNet",
]
