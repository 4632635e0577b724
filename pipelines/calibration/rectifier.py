"""The rectifier h_theta: from a model's features to a scale and a shift of its quality (Eq. 4)."""

import torch
from torch import Tensor, nn

_CONSTANT = 1e-6


class Rectifier(nn.Module):
    """Q = alpha q + beta with (alpha, beta) = h_theta(features), h_theta a perceptron with one hidden layer.

    It starts at the identity: the last layer has zero weights and the bias (1, 0), so that an untrained rectifier
    changes nothing. `state_dict` holds everything, the standardisation included.

    Args:
        mean: (d,) float32, of the features that it will be trained on.
        deviation: (d,) float32, not negative; features that hardly vary are left out of account.
        hidden: width of the hidden layer.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        # A feature that varied by rounding alone says nothing; dividing by infinity silences it.
        varies = deviation > _CONSTANT * (1 + mean.abs())
        self.register_buffer("deviation", torch.where(varies, deviation, torch.inf))
        self.inner = nn.Linear(len(mean), hidden)
        self.outer = nn.Linear(hidden, 2)
        nn.init.zeros_(self.outer.weight)
        with torch.no_grad():
            self.outer.bias.copy_(torch.tensor([1.0, 0.0]))

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "Rectifier":
        """The rectifier whose `state_dict` this is; its width is read from the arrays.

        Raises:
            RuntimeError: keys or shapes are not those of a rectifier.
            KeyError: an array is missing.
        """
        rectifier = cls(state["mean"], state["deviation"], len(state["inner.bias"]))
        rectifier.load_state_dict(state)
        return rectifier.eval()

    def scale_and_shift(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and beta, each (...), of features (..., d) float32."""
        hidden = torch.relu(self.inner((features - self.mean) / self.deviation))
        alpha, beta = self.outer(hidden).unbind(-1)
        return alpha, beta

    def forward(self, features: Tensor, quality: Tensor) -> Tensor:
        """Rectified quality Q.

        Args:
            features: (..., d) float32.
            quality: (...) float32, the model's own q_w.

        Returns:
            (...) float32.
        """
        alpha, beta = self.scale_and_shift(features)
        return alpha * quality + beta
