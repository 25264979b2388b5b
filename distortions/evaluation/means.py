"""The tables: one row a file, and means over photographs by codec and setting."""

from collections.abc import Mapping, Sequence

import pandas as pd

from distortions.evaluation.contenders import Contender, label
from distortions.evaluation.measuring import Measured
from distortions.evaluation.photographs import Photograph
from distortions.evaluation.rate_distortion import Curve, curve
from distortions.protocol import Codec

SECONDS = ["encode_seconds", "decode_seconds"]


def table(
    contenders: Sequence[Contender],
    photographs: Sequence[Photograph],
    results: Sequence[Measured],
    names: Sequence[str],
) -> pd.DataFrame:
    """A row for each photograph, contender and point (the order of `results`), a column for each measure in `names`."""
    rows = []
    found = iter(results)
    for photograph in photographs:
        for contender in contenders:
            for point, codec in enumerate(contender.points):
                rows.append(_row(photograph, contender.title, point, codec, next(found), names))
    return pd.DataFrame(rows)


def _row(
    photograph: Photograph, title: str, point: int, codec: Codec, result: Measured, names: Sequence[str]
) -> dict[str, object]:
    row: dict[str, object] = {"codec": title, "point": point, "setting": label(codec), "photograph": photograph.source}
    row |= {"width": photograph.width, "height": photograph.height}
    if result.problem:
        row |= dict.fromkeys(["bytes", "bits_per_pixel", *names, *SECONDS], float("nan"))
        return row | {"problem": result.problem}
    row |= {"bytes": result.bits // 8, "bits_per_pixel": result.bits / (photograph.width * photograph.height)}
    row |= {name: result.values.get(name, float("nan")) for name in names}
    row |= {"encode_seconds": result.encode_seconds, "decode_seconds": result.decode_seconds}
    return row | {"problem": "; ".join(f"{name}: {why}" for name, why in result.unmeasured.items())}


def comparable(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str], dict[str, str]]:
    """The rows of photographs that every codec encoded at every setting; so all means are over the same ones.

    Also which photographs are left out and why, and which codecs, those that encoded none, and why.
    """
    failed = rows[rows["bits_per_pixel"].isna()]
    counts = rows.groupby("codec", sort=False)["photograph"].nunique()
    out = {
        str(codec): str(part["problem"].iloc[0])
        for codec, part in failed.groupby("codec", sort=False)
        if part["photograph"].nunique() == counts[codec]
    }
    failed = failed[~failed["codec"].isin(list(out))].drop_duplicates("photograph")
    photographs = {str(row.photograph): f"{row.codec}: {row.problem}" for row in failed.itertuples()}
    kept = rows[~rows["codec"].isin(list(out)) & ~rows["photograph"].isin(list(photographs))]
    return kept, photographs, out


def means(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Means over photographs of bits per pixel, each measure and the seconds; a row a codec and setting.

    A measure that says nothing of some photographs has the mean over the others.
    """
    columns = ["bits_per_pixel", *names, *SECONDS]
    grouped = rows.groupby(["codec", "point", "setting"], sort=False)
    return grouped[columns].mean().assign(photographs=grouped.size()).reset_index().drop(columns="point")


def curves(rows: pd.DataFrame, name: str) -> list[Curve]:
    """Each codec's curve by the measure `name`: means over the photographs that the measure can say something of.

    Every photograph counts the same, whatever its size, as in published curves. Codecs in the order of the rows.
    """
    rows = rows[rows[name].notna()]
    found = []
    for codec, part in rows.groupby("codec", sort=False):
        mean = part.groupby("point")[["bits_per_pixel", name]].mean()
        found.append(curve(str(codec), mean["bits_per_pixel"].to_numpy(), mean[name].to_numpy()))
    return found


def unmeasured(rows: pd.DataFrame, results: Sequence[Measured], names: Sequence[str]) -> Mapping[str, str]:
    """Of measures that say nothing of some photographs, of how many and why."""
    said = {}
    for name in names:
        missing = rows.loc[rows[name].isna(), "photograph"].nunique()
        if missing:
            reason = next(result.unmeasured[name] for result in results if name in result.unmeasured)
            said[name] = f"nothing of {missing} of {rows['photograph'].nunique()} photographs: {reason}"
    return said
