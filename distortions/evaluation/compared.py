"""What each measure says of the codecs: their curves, and how these lie to a reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from distortions.evaluation import means
from distortions.evaluation.figures import NAMES
from distortions.evaluation.published import Anchors
from distortions.evaluation.rate_distortion import UNITS, Curve, Difference, difference

DIGITS = {"psnr": 2}


@dataclass(frozen=True)
class Measure:
    """What was found by one measure."""

    name: str
    measured: list[Curve]
    published: list[Curve]
    reference: str
    """The curve that the others are compared with."""
    differences: dict[str, Difference]
    """Of every other curve, by its title."""
    note: str = ""
    """Of which photographs the measure says nothing."""

    @property
    def title(self) -> str:
        """As figures and tables head it."""
        return NAMES.get(self.name, self.name).split(" (dB")[0]

    @property
    def unit(self) -> str:
        """Of differences."""
        return UNITS.get(self.name, "")

    @property
    def digits(self) -> int:
        """After the point, of a value."""
        return DIGITS.get(self.name, 4)

    @property
    def gain_digits(self) -> int:
        """After the point, of a difference."""
        return 2 if self.unit == "dB" else 4


def compared(
    rows: pd.DataFrame,
    names: Sequence[str],
    notes: Mapping[str, str],
    reference: str,
    anchors: Anchors | None = None,
    drawn: Sequence[str] = (),
    comparable: bool = False,
) -> list[Measure]:
    """What each measure in `names` says. `notes`: of which photographs it says nothing.

    `drawn`: the published curves that are shown; `comparable`: whether they are of the same photographs, so that
    differences mean something. A measure that the `reference` has no values of has the first curve as its reference.
    """
    found = []
    for name in names:
        curves = means.curves(rows, name)
        known = anchors.curves(name, drawn) if anchors else []
        every = {curve.title: curve for curve in [*curves, *(known if comparable else [])]}
        against = every.get(reference) or next(iter(every.values()), None)
        differences = {}
        if against:
            differences = {
                title: difference(name, against, curve) for title, curve in every.items() if curve is not against
            }
        title = against.title if against else reference
        found.append(Measure(name, curves, known, title, differences, notes.get(name, "")))
    return found
