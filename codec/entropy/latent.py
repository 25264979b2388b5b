"""What a stack of latents is made of: latents, and the contexts that code them."""

from torch import Tensor, nn

from codec.entropy.coders import Coder


class Latent(nn.Module):
    """A latent and all that lies under it."""

    def walk(self, coder: Coder, y: Tensor | None, size: tuple[int, int]) -> Tensor:
        """y_hat of `y` (N, C, *size), or of what the coder reads where `y` is None. Raises CodingError.

        Training and encoding give `y`, floats; y_hat is in the coder's numbers.
        """
        raise NotImplementedError

    def least_bits(self, size: tuple[int, int]) -> float:
        """The fewest bits that any latent of this size costs."""
        raise NotImplementedError


class Context(nn.Module):
    """How the means and scales of a latent follow from its hyperprior's features."""

    def walk(self, coder: Coder, y: Tensor | None, features: Tensor) -> Tensor:
        """y_hat of `y` (N, M, h, w), or of what the coder reads; features `(N, F, h, w)` in the coder's numbers."""
        raise NotImplementedError
