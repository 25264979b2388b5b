"""What a bit costs where a rate is asked for, and not a lambda: HiFiC's two weights."""

from dataclasses import dataclass

WARM_UP = 0.05  # of the training, in which the target is higher and bits are cheaper: 50,000 of 1,000,000 steps
RAISED, LOWERED = 0.20 / 0.14, 0.5  # of the target and of the weights until then


@dataclass(frozen=True)
class TargetRate:
    """`weight * R + D`: a large weight while the rate is above the target, a small one below it.

    Mentzer, Toderici, Tschannen and Agustsson, NeurIPS 2020, section 4.2; the warm-up is that of the authors' code.
    """

    bits_per_pixel: float
    above: float
    below: float

    def weight(self, bits_per_pixel: float, progress: float) -> float:
        """The weight of a bit per pixel where symbols cost `bits_per_pixel`; `progress` in [0, 1] of the training."""
        warm = progress < WARM_UP
        target = self.bits_per_pixel * (RAISED if warm else 1)
        return (LOWERED if warm else 1) * (self.above if bits_per_pixel > target else self.below)
