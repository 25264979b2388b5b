"""Noise, taken away again: what is left is smooth where there was detail, and spotted."""

import numpy as np
from scipy import fft

from distortions.synthetic.noise import white_noise
from distortions.synthetic.spaces import Floats, floats, pixels
from study.images import Pixels

BLOCK = 8
"""Pixels a side of what is transformed."""
STEP = 2
"""Pixels from one place of the blocks to the next."""
THRESHOLD = 3.0
"""Coefficients below so many deviations of the noise are set to 0, as Yu and Sapiro have it."""


def denoising(image: Pixels, variance: float, random: np.random.Generator) -> Pixels:
    """White Gaussian noise added, clipped, and taken away from each channel. KADID-10k 15.

    KADID-10k takes it away by a network, DnCNN, that is not told how strong the noise is and leaves much of the
    strongest. Here it is by DCT thresholding, which is told (Yu and Sapiro, Image Processing On Line 2011).
    """
    noisy = floats(white_noise(image, variance, random))
    return pixels(_thresholded(noisy, THRESHOLD * variance**0.5))


def _thresholded(values: Floats, threshold: float) -> Floats:
    """The mean over places of the blocks of `(H, W, C)` with their small DCT coefficients set to 0."""
    height, width, channels = values.shape
    rows, columns = (-(-side // BLOCK) * BLOCK + BLOCK for side in (height, width))
    padding = [(BLOCK, rows - height), (BLOCK, columns - width), (0, 0)]
    padded = np.pad(values, padding, mode="symmetric")
    total = np.zeros((height, width, channels), np.float32)
    offsets = range(0, BLOCK, STEP)
    for y, x in [(y, x) for y in offsets for x in offsets]:
        blocks = padded[y : y + rows, x : x + columns].reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK, channels)
        coefficients = fft.dctn(blocks, axes=(1, 3), norm="ortho")
        coefficients[abs(coefficients) < threshold] = 0
        whole = fft.idctn(coefficients, axes=(1, 3), norm="ortho").reshape(rows, columns, channels)
        total += whole[BLOCK - y : BLOCK - y + height, BLOCK - x : BLOCK - x + width]
    return total / np.float32(len(offsets) ** 2)
