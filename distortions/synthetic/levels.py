"""Every synthetic distortion with what its levels 1 to 5 are.

The amounts are those of KADID-10k (Lin, Hosu, Saupe, QoMEX 2019), for which there are votes. Where a level of theirs
changes nothing or falls out of order (noted here), and for the distortions of BAPPS (Zhang et al., CVPR 2018), which
states none by such levels, the amounts are eyetune's. Level 5 is obvious, and levels 1 to 4 are at about even steps up
to it, or up to the first that KADID-10k states, by the mean of two models of what people see, DISTS and LPIPS
(benchmarks/distortion_spacing.py).
"""

from dataclasses import dataclass

from distortions.synthetic import blur, colour, denoising, noise, resampling, spatial
from distortions.synthetic.spaces import Distort


@dataclass(frozen=True)
class Kind:
    """One kind of distortion."""

    function: Distort
    amounts: tuple[float, float, float, float, float]
    """At levels 1 to 5."""
    unit: str
    """What an amount is."""
    group: str
    """Kinds of one group are never chained: they would hide each other."""
    source: str
    stated: int = 0
    """How many of the amounts, from the last, KADID-10k states; the others are eyetune's."""


def _kadid(number: int) -> str:
    return f"KADID-10k {number}"


KINDS: dict[str, Kind] = {
    # KADID-10k's first deviation of .1 and second of .5 pixels: .1 changes nothing.
    "gaussian-blur": Kind(blur.gaussian_blur, (0.55, 0.75, 1, 2, 5), "deviation in pixels", "blur", _kadid(1), 3),
    "lens-blur": Kind(blur.lens_blur, (1, 2, 4, 6, 8), "radius in pixels", "blur", _kadid(2), 5),
    # KADID-10k's first length of 1 changes nothing, its second is 2.
    "motion-blur": Kind(blur.motion_blur, (2, 3, 4, 6, 10), "length in pixels", "blur", _kadid(3), 3),
    "resample-nearest": Kind(resampling.nearest, (1.15, 1.5, 2.4, 3.6, 5), "factor", "blur", "BAPPS"),
    "resample-bilinear": Kind(resampling.bilinear, (1.1, 1.5, 2, 3.5, 5), "factor", "blur", "BAPPS"),
    "resample-bicubic": Kind(resampling.bicubic, (1.3, 1.8, 2.5, 3.6, 5), "factor", "blur", "BAPPS"),
    "pixelate": Kind(resampling.pixelate, (0.01, 0.05, 0.1, 0.2, 0.5), "strength", "blur", _kadid(21), 5),
    "bilateral-filter": Kind(blur.bilateral_filter, (0.03, 0.07, 0.14, 0.28, 0.5), "deviation of RGB", "blur", "BAPPS"),
    "denoising": Kind(denoising.denoising, (0.01, 0.03, 0.05, 0.1, 0.15), "variance", "blur", _kadid(15), 5),
    # KADID-10k's amounts of 1 to 12 begin with plain halos.
    "sharpen": Kind(blur.sharpen, (0.5, 1, 1.7, 2.7, 4), "amount", "sharpness", _kadid(24)),
    "white-noise": Kind(noise.white_noise, (0.001, 0.002, 0.003, 0.005, 0.01), "variance", "noise", _kadid(11), 5),
    "uniform-noise": Kind(noise.uniform_noise, (0.00025, 0.00075, 0.002, 0.005, 0.01), "variance", "noise", "BAPPS"),
    "colour-component-noise": Kind(
        noise.colour_component_noise, (0.0001, 0.0005, 0.001, 0.002, 0.003), "variance", "noise", _kadid(12), 5
    ),
    "impulse-noise": Kind(
        noise.impulse_noise, (0.001, 0.005, 0.01, 0.02, 0.03), "share of samples", "noise", _kadid(13), 5
    ),
    "multiplicative-noise": Kind(
        noise.multiplicative_noise, (0.001, 0.005, 0.01, 0.02, 0.05), "variance", "noise", _kadid(14), 5
    ),
    "coloured-noise": Kind(noise.coloured_noise, (0.02, 0.038, 0.06, 0.09, 0.13), "deviation", "noise", "BAPPS"),
    "checkerboard": Kind(noise.checkerboard, (0.03, 0.05, 0.065, 0.085, 0.1), "height", "noise", "BAPPS"),
    "colour-diffusion": Kind(colour.colour_diffusion, (1, 3, 6, 8, 12), "amount", "colour", _kadid(4), 5),
    "colour-shift": Kind(colour.colour_shift, (1, 3, 6, 8, 12), "pixels", "colour", _kadid(5), 5),
    "colour-quantisation": Kind(colour.colour_quantisation, (64, 48, 32, 16, 8), "colours", "values", _kadid(6), 5),
    "desaturation": Kind(colour.desaturation, (0.4, 0.2, 0.1, 0, -0.4), "factor", "colour", _kadid(7), 5),
    # KADID-10k's first factor of 1 changes nothing.
    "oversaturation": Kind(colour.oversaturation, (1.5, 2, 3, 6, 9), "factor", "colour", _kadid(8), 4),
    "colour-cast": Kind(colour.colour_cast, (8, 15, 21, 28, 35), "distance in CIELAB", "colour", "BAPPS"),
    "quantisation": Kind(colour.quantisation, (20, 16, 13, 10, 7), "values a channel", "values", _kadid(22), 5),
    "brighten": Kind(colour.brighten, (0.1, 0.2, 0.4, 0.7, 1.1), "amount", "tone", _kadid(16), 5),
    "darken": Kind(colour.darken, (0.05, 0.1, 0.2, 0.4, 0.8), "amount", "tone", _kadid(17), 5),
    # KADID-10k goes from +.15 over 0 to -.15: here the sign is by chance.
    "mean-shift": Kind(colour.mean_shift, (0.06, 0.085, 0.11, 0.13, 0.15), "share of white", "tone", _kadid(18)),
    # KADID-10k goes through no change in the middle, along curves: here less and more are two, and straight.
    "less-contrast": Kind(colour.contrast, (0.68, 0.53, 0.41, 0.32, 0.25), "factor", "tone", _kadid(25)),
    "more-contrast": Kind(colour.contrast, (1.3, 1.5, 1.75, 2.1, 2.5), "factor", "tone", _kadid(25)),
    "jitter": Kind(spatial.jitter, (0.05, 0.1, 0.2, 0.5, 1), "deviation in pixels", "places", _kadid(19), 5),
    "shift": Kind(spatial.shift, (1, 2, 3.5, 5.5, 8), "pixels", "places", "BAPPS"),
    "affine": Kind(spatial.affine, (2, 4.5, 7.5, 11, 16), "pixels at the corners", "places", "BAPPS"),
    "perspective": Kind(spatial.perspective, (1.5, 4, 7, 11, 16), "pixels at the corners", "places", "BAPPS"),
    "warp": Kind(spatial.warp, (1.1, 2.3, 3.8, 5.6, 8), "pixels", "places", "BAPPS"),
    "linear-warp": Kind(spatial.linear_warp, (1.2, 2.4, 4, 6, 8), "pixels", "places", "BAPPS"),
    "ghosting": Kind(spatial.ghosting, (0.14, 0.23, 0.31, 0.39, 0.5), "share", "places", "BAPPS"),
    "chromatic-aberration": Kind(
        spatial.chromatic_aberration, (0.75, 1.5, 3, 5.7, 12), "pixels at the corners", "places", "BAPPS"
    ),
    "non-eccentricity-patches": Kind(
        spatial.non_eccentricity_patches, (20, 40, 60, 80, 100), "patches on 512 x 384", "patches", _kadid(20), 5
    ),
    "colour-blocks": Kind(spatial.colour_blocks, (2, 4, 6, 8, 10), "blocks on 512 x 384", "patches", _kadid(23), 5),
}
CHAIN = "chain"
LEVELS = (1, 2, 3, 4, 5)
