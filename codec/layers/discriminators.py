"""Patch discriminators, and the losses of training against one.

HiFiC, Mentzer et al., NeurIPS 2020: the discriminator sees which latents the image was made of, and answers for each
patch. With q = D(image, y_hat), in logits:

    L_D = softplus(-q(x)) + softplus(q(x_hat)),    L_G = softplus(-q(x_hat))    (non-saturating)
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

CONDITION = 12  # channels the latents are brought to: HiFiC, archs.py


class PatchDiscriminator(nn.Module):
    """How real each patch of an image looks: logits `(N, 1, h, w)`, a patch every 8 pixels.

    With `latents` (channels of y_hat) it is HiFiC's conditional discriminator: the latents go through a 3x3
    convolution, are repeated to the image's size and joined to it. With 0 it sees the image alone. Every convolution
    has spectral norm (Miyato et al., ICLR 2018). Computed in float32 under autocast, as the norm's power iteration
    needs it. `width` is 64 in the paper.
    """

    def __init__(self, latents: int = 0, width: int = 64) -> None:
        super().__init__()
        self.condition = spectral_norm(nn.Conv2d(latents, CONDITION, 3, padding=1)) if latents else None
        inputs = 3 + CONDITION if latents else 3
        self.layers = nn.Sequential(
            _convolution(inputs, width, 2), nn.LeakyReLU(0.2),
            _convolution(width, 2 * width, 2), nn.LeakyReLU(0.2),
            _convolution(2 * width, 4 * width, 2), nn.LeakyReLU(0.2),
            _convolution(4 * width, 8 * width, 1), nn.LeakyReLU(0.2),
            _convolution(8 * width, 1, 1),
        )  # fmt: skip

    def forward(self, image: Tensor, y_hat: Tensor | None = None) -> Tensor:
        """Logits of images `(N, 3, H, W)` in [0, 1]; no gradient goes to the latents `(N, M, h, w)`, as in HiFiC."""
        assert (y_hat is None) == (self.condition is None)
        with torch.autocast(image.device.type, enabled=False):
            x = image.float()
            if self.condition is not None and y_hat is not None:
                condition = F.leaky_relu(self.condition(y_hat.detach().float()), 0.2)
                x = torch.cat((x, F.interpolate(condition, size=x.shape[2:], mode="nearest")), dim=1)
            return self.layers(x)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A 4x4 convolution with spectral norm to `ceil(size / stride)` pixels a side (an even size), zeros outside."""
    before, after = 1, 1 if stride == 2 else 2
    pad = nn.ZeroPad2d((before, after, before, after))
    return nn.Sequential(pad, spectral_norm(nn.Conv2d(inputs, outputs, 4, stride)))


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """L_D of each image `(N,)`, the mean over patches, from the logits of originals and of decoded images."""
    return _mean(F.softplus(-real)) + _mean(F.softplus(fake))


def generator_loss(fake: Tensor) -> Tensor:
    """L_G of each image `(N,)`, the mean over patches, from the logits of decoded images. Goodfellow et al., 2014."""
    return _mean(F.softplus(-fake))


def _mean(loss: Tensor) -> Tensor:
    return loss.mean(dim=(1, 2, 3))
