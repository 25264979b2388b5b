"""Noise. Amounts are variances of values in [0, 1], unless a function says otherwise."""

import numpy as np

from distortions.synthetic.spaces import Floats, floats, from_ycbcr, pixels, ycbcr
from study.images import Pixels


def white_noise(image: Pixels, variance: float, random: np.random.Generator) -> Pixels:
    """Gaussian noise, independent in each pixel and channel. KADID-10k 11."""
    return pixels(floats(image) + _normal(image, random) * np.float32(variance**0.5))


def uniform_noise(image: Pixels, variance: float, random: np.random.Generator) -> Pixels:
    """Noise that is uniform between two values, independent in each pixel and channel. BAPPS."""
    noise = random.random(image.shape, dtype=np.float32) - np.float32(0.5)
    return pixels(floats(image) + noise * np.float32((12 * variance) ** 0.5))


def colour_component_noise(image: Pixels, variance: float, random: np.random.Generator) -> Pixels:
    """Gaussian noise added to Y, Cb and Cr alike, so that it looks coloured. KADID-10k 12, TID2013 2."""
    return pixels(from_ycbcr(ycbcr(floats(image)) + _normal(image, random) * np.float32(variance**0.5)))


def impulse_noise(image: Pixels, share: float, random: np.random.Generator) -> Pixels:
    """Salt and pepper: the `share` of all samples is 0 or 255, half of them each. KADID-10k 13, TID2013 6."""
    chance = random.random(image.shape, dtype=np.float32)
    noisy = image.copy()
    noisy[chance < share] = 255
    noisy[chance < share / 2] = 0
    return noisy


def multiplicative_noise(image: Pixels, variance: float, random: np.random.Generator) -> Pixels:
    """Speckle: each sample times 1 + Gaussian noise. KADID-10k 14."""
    return pixels(floats(image) * (1 + _normal(image, random) * np.float32(variance**0.5)))


def coloured_noise(image: Pixels, deviation: float, random: np.random.Generator) -> Pixels:
    """Gaussian noise whose power falls with frequency f as f^-e, e drawn from [-2, 2]: violet to brown. BAPPS.

    `deviation` is the noise's standard deviation in [0, 1] whatever the exponent.
    """
    exponent = random.uniform(-2, 2)
    height, width = image.shape[:2]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1
    spectrum = frequency ** (-exponent / 2)
    spectrum[0, 0] = 0  # the mean stays
    noise: np.ndarray = np.fft.irfft2(
        np.fft.rfft2(_normal(image, random), axes=(0, 1)) * spectrum[..., None], (height, width), axes=(0, 1)
    )
    scale = float(np.std(noise))
    return pixels(floats(image) + (noise * (deviation / scale if scale else 0)).astype(np.float32))


def checkerboard(image: Pixels, height: float, random: np.random.Generator) -> Pixels:
    """A grid of period 2 as transposed convolutions leave it, `height` up and down, its place by chance. BAPPS."""
    y, x = np.indices(image.shape[:2])
    signs = 1 - 2 * ((x + y + random.integers(2)) % 2)
    return pixels(floats(image) + np.asarray(signs * height, np.float32)[..., None])


def _normal(image: Pixels, random: np.random.Generator) -> Floats:
    return random.standard_normal(image.shape, dtype=np.float32)
