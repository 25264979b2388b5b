"""Distorted patches of photographs in memory, and data made of them, for benchmarks/heads.py and recovery.py."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter

from metric.data.judgments import COMPARISONS, Data
from study.errors import InputError
from study.images import Pixels

SIZE = 64
FLAT = 10  # standard deviation of grey levels below which a patch shows nothing
STRENGTHS = {"jpeg": (5, 60), "webp": (1, 50), "blur": (0.4, 2.5), "noise": (4, 40)}


@dataclass
class Patches:
    """Images by key, and what they are made of."""

    images: dict[str, Pixels]
    table: pd.DataFrame
    """source, reference, distorted: one row a distorted image."""


def make(folder: Path, references: int, versions: int, seed: int) -> Patches:
    """`references` patches of the photographs in `folder`, taken in turn, each with `versions` distorted ones."""
    photographs = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not photographs:
        raise InputError(f"{folder}: no photographs (.png, .jpg)")
    random = np.random.default_rng(seed)
    opened: dict[Path, Image.Image] = {}
    images, rows = {}, []
    for number in range(references):
        path = photographs[number % len(photographs)]
        if path not in opened:
            opened[path] = Image.open(path).convert("RGB")
        reference = _patch(opened[path], random)
        images[f"{number}"] = reference
        for version in range(versions):
            key = f"{number}-{version}"
            images[key] = distort(reference, random)
            rows.append((path.name, f"{number}", key))
    return Patches(images, pd.DataFrame(rows, columns=["source", "reference", "distorted"]))


def distort(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """One of STRENGTHS, at a random strength."""
    kind = str(random.choice(list(STRENGTHS)))
    strength = float(random.uniform(*STRENGTHS[kind]))
    image = Image.fromarray(pixels)
    if kind == "noise":
        return np.clip(pixels + random.normal(0, strength, pixels.shape), 0, 255).astype(np.uint8)
    if kind == "blur":
        return np.array(image.filter(ImageFilter.GaussianBlur(strength)))
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=round(strength))
    return np.array(Image.open(buffer).convert("RGB"))


def data_of(patches: Patches, comparisons: pd.DataFrame, folder: Path) -> Data:
    """Data on `comparisons`, whose images are those of `patches`; results go to `folder`."""
    table = comparisons.reindex(columns=COMPARISONS)
    return Data("patches", folder, "SIMULATED votes", "simulated", patches.images.__getitem__, table)


def _patch(photograph: Image.Image, random: np.random.Generator) -> Pixels:
    for _ in range(50):
        x, y = (int(random.integers(side - SIZE + 1)) for side in photograph.size)
        patch = np.array(photograph.crop((x, y, x + SIZE, y + SIZE)))
        if patch.std() >= FLAT:
            return patch
    return patch
