"""A synthetic distortion as `[[codecs]]` of study.toml asks for it: no bits, but a level.

    [[codecs]]
    name = "gaussian-blur"        # all five levels
    [[codecs]]
    name = "chain"                # several kinds, which and in which order by chance, as BAPPS has them
    settings = { level = 3, kinds = 2 }

One photograph's levels share what is by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL

from distortions.protocol import Setting
from distortions.synthetic.levels import CHAIN, KINDS, LEVELS
from study.errors import InputError
from study.files import sha256
from study.images import Pixels
from study.versions import version

NAMES = (*KINDS, CHAIN)
GROUPS = sorted({kind.group for kind in KINDS.values()})
SETTINGS = {
    "level": "1 to 5, slight to obvious; without it all five",
    "kinds": f"how many are chained: 2 to {len(GROUPS)} (2)",
}


@dataclass(frozen=True)
class Distorter:
    """One of `KINDS`, or a chain of them, at one or more levels.

    `seed` stands for a photograph: the same gives the same pixels, and all levels share what is by chance (a direction,
    the noise's pattern), so that a level is the one before with more of it.
    """

    name: str
    levels: tuple[int, ...] = LEVELS
    kinds: int = 1
    """How many of `KINDS` a chain has."""

    @property
    def library(self) -> str:
        """What distorts, with versions."""
        return (
            f"eyetune {version('eyetune')} through numpy {np.__version__}, scipy {version('scipy')},"
            f" Pillow {PIL.__version__}"
        )

    @property
    def settings(self) -> dict[str, Setting]:
        """What was asked for."""
        return {"levels": [str(level) for level in self.levels]} | self._chained()

    @property
    def plain(self) -> bool:
        """Whether an image of it with a low PSNR is plainly distorted: one that is moved or darker may not be."""
        return self.name != CHAIN and KINDS[self.name].group in ("blur", "noise", "values", "patches")

    def drawn(self, seed: str) -> tuple[str, ...]:
        """The names of the kinds in the order in which they are done."""
        if self.name != CHAIN:
            return (self.name,)
        random = _random(f"{CHAIN} {self.kinds} {seed}")
        groups = random.permutation(len(GROUPS))[: self.kinds]
        return tuple(str(random.choice([name for name in KINDS if KINDS[name].group == GROUPS[k]])) for k in groups)

    def described(self, level: int, seed: str) -> dict[str, Setting]:
        """The settings of one stimulus: the level, and what a chain is made of."""
        chain: dict[str, Setting] = {"chain": list(self.drawn(seed))} if self.name == CHAIN else {}
        return {"level": level} | self._chained() | chain

    def distort(self, image: Pixels, level: int, seed: str) -> Pixels:
        """The image at `level` of 1 to 5; at 0 a copy."""
        for name in self.drawn(seed):
            image = distorted(image, name, level, _random(f"{name} {seed}"))
        return image

    def _chained(self) -> dict[str, Setting]:
        return {"kinds": self.kinds} if self.name == CHAIN else {}


def distorted(image: Pixels, name: str, level: int, random: np.random.Generator) -> Pixels:
    """`(H, W, 3)` uint8 pixels with the distortion `name` of `KINDS` at `level` of 1 to 5; at 0 a copy."""
    if level == 0:
        return image.copy()
    return KINDS[name].function(image, KINDS[name].amounts[LEVELS.index(level)], random)


def configured(name: str, settings: dict[str, Any], where: str) -> Distorter:
    """The distortion that `settings` of `[[codecs]]` asks for.

    Raises InputError, beginning with `where`, that names key and value and says what is allowed.
    """
    free = SETTINGS if name == CHAIN else {"level": SETTINGS["level"]}
    ranges: dict[str, Sequence[int]] = {"level": LEVELS, "kinds": range(2, len(GROUPS) + 1)}
    for key, value in settings.items():
        if key not in free:
            allowed = "; ".join(f"{setting} ({meaning})" for setting, meaning in free.items())
            raise InputError(f"{where}.{key} = {value!r}: {name} has no such setting; allowed: {allowed}")
        if isinstance(value, bool) or not isinstance(value, int) or value not in ranges[key]:
            raise InputError(f"{where}.{key} = {value!r}; allowed: {free[key]}")
    levels = (settings["level"],) if "level" in settings else LEVELS
    return Distorter(name, levels, settings.get("kinds", 2) if name == CHAIN else 1)


def _random(seed: str) -> np.random.Generator:
    return np.random.default_rng(int(sha256(seed.encode())[:16], 16))
