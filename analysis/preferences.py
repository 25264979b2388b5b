"""Which stimulus won: votes per triplet, and which codec is preferred at the same rate."""

import numpy as np
import pandas as pd

from analysis.proportions import wilson
from study.folder import count_votes
from study.records import condition_name

SIDES = ("codec", "target_bits_per_pixel", "bits_per_pixel", "settings")
TRIPLET_COLUMNS = [
    "triplet", "source", "comparison", "codec_a", "codec_b", "target_bits_per_pixel_a", "target_bits_per_pixel_b",
    "bits_per_pixel_a", "bits_per_pixel_b", "settings_a", "settings_b", "votes", "prefer_a", "prefer_b", "share_b",
    "low_b", "high_b",
]  # fmt: skip
PAIR_COLUMNS = [
    "codec", "other", "target_bits_per_pixel", "triplets", "votes", "wins", "losses", "share", "low", "high",
]  # fmt: skip
REFERENCE_COLUMNS = [
    "condition", "codec", "target_bits_per_pixel", "bits_per_pixel", "triplets", "votes", "told", "share", "low",
    "high",
]  # fmt: skip


def triplet_table(judgments: pd.DataFrame, triplets: pd.DataFrame, stimuli: pd.DataFrame) -> pd.DataFrame:
    """One row a test triplet with votes, TRIPLET_COLUMNS: what a and b are, the votes, b's share and its interval."""
    table = count_votes(judgments, triplets)
    known = stimuli.set_index("id")
    table["triplet"] = table["id"]
    table["source"] = known["source"].reindex(table["reference"]).to_numpy()
    for end in ("a", "b"):
        for name in SIDES:
            table[f"{name}_{end}"] = known[name].reindex(table[end]).to_numpy()
    table["prefer_b"] = table["prefer_b"].astype(int)
    table["prefer_a"] = table["votes"] - table["prefer_b"]
    table["share_b"] = table["prefer_b"] / table["votes"]
    table["low_b"], table["high_b"] = wilson(table["prefer_b"], table["votes"])
    return table[TRIPLET_COLUMNS]


def codec_preferences(table: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    """One row a pair of codecs and target rate, PAIR_COLUMNS, then the same pooled over rates (no rate).

    `table` is `triplet_table`'s; only comparisons of codecs at the same rate count. `wins` are the votes for `codec`,
    which stands before `other` in `order`.
    """
    chosen = table[(table["comparison"] == "codecs") & (table["codec_a"] != table["codec_b"])]
    rank = {name: place for place, name in enumerate(order)}
    turned = chosen["codec_a"].map(rank).to_numpy() > chosen["codec_b"].map(rank).to_numpy()
    pairs = pd.DataFrame(
        {
            "target_bits_per_pixel": chosen["target_bits_per_pixel_a"].astype(float),
            "codec": np.where(turned, chosen["codec_b"], chosen["codec_a"]),
            "other": np.where(turned, chosen["codec_a"], chosen["codec_b"]),
            "wins": np.where(turned, chosen["prefer_b"], chosen["prefer_a"]),
            "votes": chosen["votes"],
        }
    )
    at_rate = pairs.dropna(subset="target_bits_per_pixel")
    sums = {"triplets": ("votes", "size"), "votes": ("votes", "sum"), "wins": ("wins", "sum")}
    parts = [
        at_rate.groupby(["target_bits_per_pixel", "codec", "other"], as_index=False).agg(**sums),
        pairs.groupby(["codec", "other"], as_index=False).agg(**sums),
    ]
    result = pd.concat([part for part in parts if len(part)], ignore_index=True) if len(pairs) else parts[0]
    result = result.reindex(columns=PAIR_COLUMNS)
    result["losses"] = result["votes"] - result["wins"]
    result["share"] = result["wins"] / result["votes"]
    result["low"], result["high"] = wilson(result["wins"], result["votes"])
    places = result[["codec", "other"]].apply(lambda column: column.map(rank))
    by = pd.DataFrame({"rate": result["target_bits_per_pixel"], "codec": places["codec"], "other": places["other"]})
    return result.loc[by.sort_values(["rate", "codec", "other"], na_position="last").index].reset_index(drop=True)


def told_from_reference(table: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    """One row a condition that was shown against the reference itself, REFERENCE_COLUMNS, by codec and rate.

    `table` is `triplet_table`'s; only comparisons named `jnd` count. `told` are votes for the reference. Who sees no
    difference chooses either, so at a share of 75 % half of the votes tell the two apart: 1 JND.
    """
    chosen = table[table["comparison"] == "jnd"]
    turned = (chosen["codec_a"] == "reference").to_numpy()
    other = {name: np.where(turned, chosen[f"{name}_b"], chosen[f"{name}_a"]) for name in SIDES}
    rows = pd.DataFrame(
        other | {"votes": chosen["votes"], "told": np.where(turned, chosen["prefer_a"], chosen["prefer_b"])}
    )
    rows = rows.astype({"target_bits_per_pixel": float, "bits_per_pixel": float})
    rows["condition"] = [
        condition_name(codec, target, settings)
        for codec, target, settings in zip(rows["codec"], rows["target_bits_per_pixel"], rows["settings"], strict=True)
    ]
    result = rows.groupby("condition", as_index=False).agg(
        codec=("codec", "first"), target_bits_per_pixel=("target_bits_per_pixel", "first"),
        bits_per_pixel=("bits_per_pixel", "mean"), triplets=("votes", "size"), votes=("votes", "sum"),
        told=("told", "sum"),
    )  # fmt: skip
    result["share"] = result["told"] / result["votes"]
    result["low"], result["high"] = wilson(result["told"], result["votes"])
    result["rank"] = result["codec"].map({name: place for place, name in enumerate(order)})
    return result.sort_values(["rank", "bits_per_pixel", "condition"], ignore_index=True)[REFERENCE_COLUMNS]


def codec_order(listed: list[str], stimuli: pd.DataFrame) -> list[str]:
    """The codecs of the study as `study.toml` lists them, then others by name."""
    there = set(stimuli["codec"])
    return [name for name in listed if name in there] + sorted(there - set(listed))
