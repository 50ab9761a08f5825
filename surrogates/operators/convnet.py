"""A chain of convolutions, the plainest network for fields on a grid, in 1-3 dimensions:

    h_1 = act(C_1 [u, p]),    h_(l+1) = act(C_l h_l),    y = C_out h_L.

Without positions p it commutes with translations of periodic axes. It sees (layers + 1) (kernel - 1)/2 points to each side. An embedding
e acts on every hidden layer by FiLM, act((1 + gamma) C h + beta).

ConvNet(1, 1, dim=1, width=34, layers=10) is the "Conv;34;10;relu" of APEBench, with its 31757 parameters.
Source: Koehler et al., APEBench, 2024, https://arxiv.org/abs/2411.00180.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain
from surrogates.operators.checks import check_box, check_counts, per_axis
from surrogates.operators.convolution import ACTIVATIONS, Convolution, check_convolutional, fields, images, modulate
from surrogates.operators.film import FiLM
from surrogates.operators.padding import sides
from surrogates.record import recorded


@recorded
class ConvNet(nn.Module):
    """A network from fields (B, in_channels, *X) to fields (B, out_channels, *X) on a `Box` of `dim` axes, at any resolution.

    layers: hidden ones, `width` channels each; kernel: odd, points an axis; activation: "relu", "gelu" or "silu".
    walls: how fields go on behind a wall, by "zeros" or their mirror image ("reflect"); periodic axes wrap.
    positions: harmonics of the position that the network sees, one number or one an axis; 0 for translation equivariance.
    Raises ValueError for impossible numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int = 0,
        *,
        dim: int = 2,
        width: int = 34,
        layers: int = 10,
        kernel: int = 3,
        activation: str = "relu",
        walls: str = "zeros",
        positions: int | Sequence[int] = 0,
    ) -> None:
        super().__init__()
        check_convolutional(dim, walls, activation, kernel)
        check_counts(in_channels=in_channels, out_channels=out_channels, width=width, layers=layers)
        self.in_channels, self.out_channels, self.embedding, self.dim, self.walls = in_channels, out_channels, embedding, dim, walls
        self.positions, self.activation = per_axis("positions", positions, dim), ACTIVATIONS[activation]
        widths = [in_channels + 2 * sum(self.positions), *[width] * layers]
        self.layers = nn.ModuleList(Convolution(a, width, dim, kernel) for a in widths[:-1])
        self.film = FiLM(embedding, width, layers) if embedding else None
        self.out = Convolution(width, out_channels, dim, kernel)

    def forward(
        self, x: Float[Tensor, "B Cin *X"], domain: Domain, embedding: Float[Tensor, "G E"] | None = None
    ) -> Float[Tensor, "B Cout *X"]:
        """Normalised fields to normalised fields.

        Raises TypeError for a domain that is not a Box, ValueError for the wrong channels or embedding, and for stretched cells.
        """
        box = check_box("ConvNet", x, domain, embedding, channels=self.in_channels, size=self.embedding, dim=self.dim)
        rules, h = sides(box, self.walls), images(x, box, self.positions)
        film = self.film(embedding) if self.film is not None else ((None, None, None),) * len(self.layers)
        for layer, (gain, shift, _) in zip(self.layers, film, strict=True):
            h = self.activation(modulate(layer(h, rules), gain, shift))
        return fields(self.out(h, rules), box)
