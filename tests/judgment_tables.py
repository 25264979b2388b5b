"""Images and tables of judgments beside them, for tests of what is read."""

from pathlib import Path

import pandas as pd
from conftest import photograph

from study.images import encode_png

COUNTS = """reference,a,b,prefer_b,votes
            r0.png,a0.png,b0.png,2,5
            r1.png,a1.png,b1.png,1.5,2"""


def make_images(folder: Path) -> Path:
    """Put references r0, r1 and distorted a0, b0, a1, b1 into `folder`: .png, 16 x 16, all different."""
    folder.mkdir()
    for seed, name in enumerate(("r0", "r1", "a0", "b0", "a1", "b1")):
        (folder / f"{name}.png").write_bytes(encode_png(photograph(seed, 16)))
    return folder


def table(folder: Path, text: str, name: str = "votes.csv") -> Path:
    """A table with the lines of `text`, beside the images."""
    path = folder / name
    path.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n")
    return path


def plain(frame: pd.DataFrame) -> list[tuple]:
    """reference, a, b by file name, and prefer_b, votes."""
    names = [frame[column].map(lambda key: Path(key).stem) for column in ("reference", "a", "b")]
    return list(zip(*names, frame["prefer_b"], frame["votes"], strict=True))
