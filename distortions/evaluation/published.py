"""Published rate-distortion curves, from a JSON file: `{"dataset": ..., "anchors": {name: {"bpp": [...], ...}}}`.

Beside `bpp` a curve has `psnr` (RGB, dB), `ms_ssim` (up to 1) or `ms_ssim_db`, `lpips` (AlexNet) or `dists`, point by
point, and `source`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from distortions.evaluation.photographs import Photograph
from distortions.evaluation.rate_distortion import Curve, curve
from study.errors import InputError

USUAL = (
    "bpg444", "vtm", "bmshj2018-hyperprior/mse/cpu", "mbt2018-mean/mse/cpu", "mbt2018/mse/cpu", "hific",
    "illm-csv/MS-ILLM",
)  # fmt: skip
"""Those that are drawn unless others are named: the field's classical anchors, the two systems that eyetune trains, and
two that were trained to look good."""

KODAK = {
    "f3f0309a", "efb3a142", "f382c9f1", "e8bc6d66", "e0ca3db3", "59d983a7", "913a2bab", "787d712e",
    "711cfad4", "8536a6ef", "a63d9315", "dfd9eff8", "fa612a13", "88dc670e", "55e07516", "46f26938",
    "b5993909", "6cfe860b", "be1ad983", "65a7dc49", "cb12e2a4", "7aa6307b", "84278e4a", "3fa80499",
}  # fmt: skip
"""The beginnings of the SHA-256 of the pixels (`study.images.fingerprint`) of Kodak's 24 photographs, 768 x 512."""


class _Anchor(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)
    source: str = ""
    bpp: list[float]
    psnr: list[float] | None = None
    ms_ssim: list[float] | None = None
    ms_ssim_db: list[float] | None = None
    lpips: list[float] | None = None
    dists: list[float] | None = None


class Anchors(BaseModel):
    """Published curves by their names."""

    dataset: str
    """The photographs that they are means over."""
    anchors: dict[str, _Anchor]

    def curves(self, name: str, which: Sequence[str]) -> list[Curve]:
        """The curves by the measure `name` of those in `which` that were published with it."""
        found = []
        for title in which:
            anchor = self.anchors[title]
            values = {"psnr": anchor.psnr, "lpips-alex": anchor.lpips, "dists": anchor.dists}.get(name)
            if name == "ms-ssim":
                values = anchor.ms_ssim or [1 - 10 ** (-value / 10) for value in anchor.ms_ssim_db or []]
            if values:
                source = anchor.source or "source not given"
                found.append(curve(titled(title), np.array(anchor.bpp), np.array(values), source))
        return found


def read(path: Path) -> Anchors:
    """The published curves in `path`. Raises InputError."""
    try:
        found = Anchors.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, not a file") from None
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise InputError(f"{path}: not a file of published curves: {place}: {problem['msg']}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    for name, anchor in found.anchors.items():
        for key in ("psnr", "ms_ssim", "ms_ssim_db", "lpips", "dists"):
            values = getattr(anchor, key)
            if values is not None and len(values) != len(anchor.bpp):
                raise InputError(f"{path}: {name}: {len(anchor.bpp)} values of bpp but {len(values)} of {key}")
        if min(anchor.bpp, default=1) <= 0:
            raise InputError(f"{path}: {name}: bpp {min(anchor.bpp)}: must be above 0")
    return found


def chosen(anchors: Anchors, names: Sequence[str], path: Path) -> list[str]:
    """The curves called `names`; without names those in USUAL, or all. Raises InputError for one that is not there."""
    for name in names:
        if name not in anchors.anchors:
            raise InputError(f"{path}: no curve {name!r}; there are: {', '.join(anchors.anchors)}")
    return list(names) or [name for name in USUAL if name in anchors.anchors] or list(anchors.anchors)


def titled(name: str) -> str:
    """The curve's name in tables and figures."""
    return f"{name} (published)"


def whose(photographs: Sequence[Photograph]) -> str:
    """What the photographs are as a data set: `Kodak 24`, some of it, or nothing that is known (empty)."""
    known = {photograph.pixels[:8] for photograph in photographs} & KODAK
    if not known or len(known) < len(photographs):
        return ""
    return "Kodak 24" if len(known) == len(KODAK) else f"{len(known)} of Kodak 24"


def caution(anchors: Anchors, photographs: Sequence[Photograph]) -> str:
    """Why published curves cannot be compared with what was measured here; empty where they can."""
    here = whose(photographs)
    if here and here == anchors.dataset:
        return ""
    these = here or f"{len(photographs)} other photographs"
    return f"The published curves are means over {anchors.dataset}; here are {these}. They are not comparable."
