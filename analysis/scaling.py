"""One quality scale from all votes of a study: Bradley-Terry scores of codecs at rates, and of codecs."""

import math

import numpy as np
import pandas as pd

from analysis.bradley_terry import LEFT_OUT_AT_MOST, Scores, fit
from study.design.scores import ALPHA
from study.records import condition_name

COLUMNS = [
    "scale", "condition", "codec", "target_bits_per_pixel", "bits_per_pixel", "votes", "score", "low", "high", "group",
    "one_sided",
]  # fmt: skip
NO_CONDITION = ("unknown", "reference")


def name_conditions(stimuli: pd.DataFrame) -> pd.Series:
    """Each stimulus's condition by its id, as `study.records.condition_name` has it.

    None for references and where an import does not tell the codec.
    """
    names = [
        None if codec in NO_CONDITION else condition_name(codec, target, settings)
        for codec, target, settings in zip(
            stimuli["codec"], stimuli["target_bits_per_pixel"].astype(float), stimuli["settings"], strict=True
        )
    ]
    return pd.Series(names, index=stimuli["id"].to_numpy(), dtype=object)


def scale(
    judgments: pd.DataFrame, triplets: pd.DataFrame, stimuli: pd.DataFrame, order: list[str], by: str, seed: int
) -> tuple[pd.DataFrame, list[str]]:
    """A row a condition with COLUMNS, and sentences on what to know before reading the scores.

    `by` "conditions" takes every test vote between different conditions; "codecs" every one between different codecs
    at the same rate. The table is empty where there is nothing to compare; then the sentence says why.
    """
    tests = triplets[triplets["kind"] == "test"]
    if by == "codecs":
        tests = tests[tests["comparison"] == "codecs"]
        names = stimuli.set_index("id")["codec"].where(lambda codec: ~codec.isin(NO_CONDITION), None)
    else:
        names = name_conditions(stimuli)
    votes = judgments[["triplet", "observer", "chosen"]].merge(
        tests[["id", "a", "b"]].rename(columns={"id": "triplet"}), on="triplet"
    )
    votes["loser"] = votes["b"].where(votes["chosen"] == votes["a"], votes["a"])
    votes["won"], votes["lost"] = names.reindex(votes["chosen"]).to_numpy(), names.reindex(votes["loser"]).to_numpy()
    votes = votes[votes["won"].notna() & votes["lost"].notna() & (votes["won"] != votes["lost"])]
    if votes.empty:
        return pd.DataFrame(columns=COLUMNS), [f"No vote compares two known {by}, so there are no scores."]
    table = _conditions(votes, stimuli, names, order)
    place = pd.Series(range(len(table)), index=table["condition"])
    scores = fit(
        place[votes["won"]].to_numpy(), place[votes["lost"]].to_numpy(), votes["observer"].to_numpy(dtype=str),
        len(table), seed, progress=f"bootstrap, {by}",
    )  # fmt: skip
    table["scale"], table["group"], table["one_sided"] = by, scores.groups + 1, scores.one_sided
    table["score"], table["low"], table["high"] = scores.scores, scores.low, scores.high
    if by == "codecs":
        table[["target_bits_per_pixel", "bits_per_pixel"]] = np.nan
    return table[COLUMNS], cautions(table, scores)


def cautions(table: pd.DataFrame, scores: Scores) -> list[str]:
    """Sentences on separate groups, unanimous votes, and what became of the bootstrap's replicates."""
    said = []
    groups = [part["condition"].tolist() for _, part in table.groupby("group")]
    if len(groups) > 1:
        listed = "; ".join(", ".join(names) for names in groups)
        said.append(
            f"The votes fall into {len(groups)} groups that were never compared with one another ({listed}). Scores"
            " compare only within a group, and each group is centred on its own."
        )
    for _, part in table[table["one_sided"]].groupby("group"):
        said.append(
            f"One-sided votes: among {', '.join(part['condition'])}, some never lost to the others, so the likelihood"
            f" alone would put them infinitely far apart. A weak prior (standard deviation"
            f" {1 / math.sqrt(2 * ALPHA):.1f}) keeps the scores finite: trust their order, not their distance."
        )
    if scores.replicates + scores.left_out == 0:
        said.append("Only one observer voted, so there is no interval: it would say how other observers differ.")
    elif table["low"].isna().all():
        said.append(
            f"No intervals: {scores.left_out} of {scores.replicates + scores.left_out} resamplings of the observers"
            f" left something uncompared (at most {LEFT_OUT_AT_MOST:.0%} may). More observers would help."
        )
    else:
        if scores.left_out:
            said.append(f"{scores.left_out} resamplings of the observers left something uncompared and were dropped.")
        if scores.penalised and not table["one_sided"].any():
            said.append(f"{scores.penalised} resamplings were one-sided and were fitted with the weak prior.")
    return said


def _conditions(votes: pd.DataFrame, stimuli: pd.DataFrame, names: pd.Series, order: list[str]) -> pd.DataFrame:
    """The conditions that were voted on, by codec and rate, with their mean rate over the stimuli that were shown."""
    shown = stimuli[stimuli["id"].isin(set(votes["chosen"]) | set(votes["loser"]))].copy()
    shown["condition"] = names.reindex(shown["id"]).to_numpy()
    table = shown.groupby("condition", as_index=False).agg(
        codec=("codec", "first"),
        target_bits_per_pixel=("target_bits_per_pixel", "first"),
        bits_per_pixel=("bits_per_pixel", "mean"),
    )
    counts = pd.concat([votes["won"], votes["lost"]]).value_counts()
    table["votes"] = counts.reindex(table["condition"]).to_numpy()
    table["rank"] = table["codec"].map({name: place for place, name in enumerate(order)})
    return table.sort_values(["rank", "target_bits_per_pixel", "condition"], ignore_index=True)
