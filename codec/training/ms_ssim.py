"""MS-SSIM as a loss: separable windows, no gradient that is not a number, images that may leave [0, 1]."""

import torch
from torch import Tensor
from torch.nn import functional

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales, finest first; Wang et al. 2003
WINDOW, SIGMA = 11, 1.5  # pixels
C1, C2 = 0.01**2, 0.03**2
FLOOR = 1e-6  # of a scale's similarity: below it, its power has no finite gradient
SMALLEST = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1


def ms_ssim_loss(x: Tensor, x_hat: Tensor) -> Tensor:
    """1 - MS-SSIM `(N,)` of float images `(N, 3, H, W)` on the scale of [0, 1], sides of SMALLEST pixels or more.

    The mean over RGB of the product of contrast similarities at five scales and luminance at the coarsest. A scale
    whose similarity is below FLOOR counts as FLOOR and gives no gradient. Wang, Simoncelli and Bovik, Asilomar 2003.
    """
    scales = []
    for scale in range(len(WEIGHTS)):
        if scale:
            x, x_hat = _halved(x), _halved(x_hat)
        luminance, contrast = _similarities(x, x_hat)
        last = scale == len(WEIGHTS) - 1
        scales.append((luminance * contrast if last else contrast).mean(dim=(2, 3)))
    weights = torch.tensor(WEIGHTS, dtype=x.dtype, device=x.device)[:, None, None]
    return 1 - (torch.stack(scales).clamp(min=FLOOR) ** weights).prod(dim=0).mean(dim=1)


def _similarities(x: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of luminance, and of contrast and structure, `(N, C, H - 10, W - 10)`."""
    channels = x.shape[1]
    mean_x, mean_y, xx, yy, xy = _blurred(torch.cat([x, x_hat, x * x, x_hat * x_hat, x * x_hat], dim=1)).split(
        channels, dim=1
    )
    variances = xx - mean_x**2 + yy - mean_y**2
    covariance = xy - mean_x * mean_y
    contrast = (2 * covariance + C2) / (variances + C2)
    return (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1), contrast


def _blurred(maps: Tensor) -> Tensor:
    """Each channel under a Gaussian window, where that lies within."""
    channels = maps.shape[1]
    distance = torch.arange(WINDOW, dtype=maps.dtype, device=maps.device) - WINDOW // 2
    row = torch.softmax(-(distance**2) / (2 * SIGMA**2), dim=0).expand(channels, 1, 1, WINDOW)
    maps = functional.conv2d(maps, row, groups=channels)
    return functional.conv2d(maps, row.transpose(2, 3), groups=channels)


def _halved(x: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; a first row and column repeated, both, where a side is odd, as in piq."""
    odd = max(x.shape[2] % 2, x.shape[3] % 2)
    return functional.avg_pool2d(functional.pad(x, (odd, 0, odd, 0), mode="replicate"), 2)
