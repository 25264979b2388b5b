"""How each observer did: sentinels, repeats, sides, times, agreement with the others, and who is left out, and why."""

import numpy as np
import pandas as pd

from analysis.dawid_skene import PRIOR_RIGHT, PRIOR_WRONG, reliabilities
from study.attention import fails_sentinels, half_p, keeps_to_one_side

SIDE_FLAG_LEVEL = 0.01  # flagged only, not left out: some prefer a side where they see no difference

COLUMNS = [
    "observer", "votes", "reliability", "excluded", "reason", "sentinels", "sentinels_right", "repeats",
    "repeats_consistent", "left_share", "side_p", "side_flag", "median_seconds", "agreement_with_others",
]  # fmt: skip


def observer_table(judgments: pd.DataFrame, triplets: pd.DataFrame) -> pd.DataFrame:
    """One row an observer with COLUMNS, least reliable first; `votes` counts answers to test triplets.

    An observer is excluded for one of two reasons, both about attention: too few sentinels right, or the same side in
    nearly all test votes (`study.attention` has the rules). Disagreeing with the others is never one: leaving
    dissenters out would inflate the agreement that is measured.
    """
    votes = with_triplets(judgments, triplets)
    test = votes[votes["kind"] == "test"]
    table = pd.DataFrame(index=pd.Index(sorted(judgments["observer"].unique()), name="observer"))
    table["votes"] = _count(test, table)
    table["reliability"] = _reliability(test).reindex(table.index).fillna(PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG))
    sentinels = votes[votes["kind"] == "sentinel"]
    table["sentinels"] = _count(sentinels, table)
    table["sentinels_right"] = _count(sentinels[sentinels["chosen"] == sentinels["expected"]], table)
    repeats = repeat_pairs(votes)
    table["repeats"] = _count(repeats, table)
    table["repeats_consistent"] = _count(repeats[repeats["consistent"]], table)
    shown = sides_known(test)
    left, sided = _count(shown[shown["side"] == "left"], table), _count(shown, table)
    table["left_share"] = left / sided.where(sided > 0)
    table["side_p"] = half_p(left.to_numpy(), sided.to_numpy())
    table["side_flag"] = table["side_p"] < SIDE_FLAG_LEVEL
    table["median_seconds"] = response_seconds(votes).groupby(votes["observer"]).median().reindex(table.index)
    table["agreement_with_others"] = _agreement_with_others(test).reindex(table.index)
    table["reason"] = _reasons(table, keeps_to_one_side(left, sided))
    table["excluded"] = table["reason"] != ""
    return table.reset_index().sort_values(["reliability", "observer"], ignore_index=True)[COLUMNS]


def with_triplets(judgments: pd.DataFrame, triplets: pd.DataFrame) -> pd.DataFrame:
    """The votes, each with `a`, `b`, `kind`, `expected` and `repeat_of` of its triplet."""
    asked = triplets[["id", "a", "b", "kind", "expected", "repeat_of"]].rename(columns={"id": "triplet"})
    return judgments.merge(asked, on="triplet")


def sides_known(votes: pd.DataFrame) -> pd.DataFrame:
    """The votes whose side is known: an import from BAPPS names none, and says so by its protocol."""
    return votes[votes["protocol"] != "unknown"]


def repeat_pairs(votes: pd.DataFrame) -> pd.DataFrame:
    """One row for each repeat whose first showing the same observer answered: `observer`, `consistent`.

    `votes` are those of `with_triplets`.
    """
    first = votes[["triplet", "observer", "chosen"]].drop_duplicates(["triplet", "observer"])
    again = votes.loc[votes["kind"] == "repeat", ["repeat_of", "observer", "chosen"]]
    both = again.merge(first, left_on=["repeat_of", "observer"], right_on=["triplet", "observer"], suffixes=("", "_"))
    return pd.DataFrame({"observer": both["observer"], "consistent": both["chosen"] == both["chosen_"]})


def response_seconds(votes: pd.DataFrame) -> pd.Series:
    """Seconds from the images being visible to the answer, by the observer's clock; NaN where a time is missing."""
    loaded, answered = (
        pd.to_datetime(votes[name], utc=True, format="ISO8601", errors="coerce")
        for name in ("loaded_at", "answered_at")
    )
    return (answered - loaded).dt.total_seconds()


def _count(rows: pd.DataFrame, table: pd.DataFrame) -> pd.Series:
    return rows.groupby("observer").size().reindex(table.index, fill_value=0).astype(int)


def _reliability(test: pd.DataFrame) -> pd.Series:
    observers, who = np.unique(test["observer"].to_numpy(dtype=str), return_inverse=True)
    _, what = np.unique(test["triplet"].to_numpy(dtype=str), return_inverse=True)
    return pd.Series(reliabilities(who, what, (test["chosen"] == test["b"]).to_numpy()), index=observers, dtype=float)


def _agreement_with_others(test: pd.DataFrame) -> pd.Series:
    """The mean share with which each observer's votes agree with the majority of the others' (a tie counts half)."""
    for_b = (test["chosen"] == test["b"]).astype(int)
    of_triplet = for_b.groupby(test["triplet"])
    others = of_triplet.transform("size") - 1
    majority = np.sign(2 * (of_triplet.transform("sum") - for_b) - others)  # 1 for b, -1 for a, 0 a tie
    agrees = (1 + majority * (2 * for_b - 1)) / 2
    return agrees[others > 0].groupby(test["observer"]).mean()


def _reasons(table: pd.DataFrame, sided: np.ndarray) -> list[str]:
    failed = fails_sentinels(table["sentinels_right"], table["sentinels"])
    reasons = []
    for row, bad, same in zip(table.itertuples(), failed, sided, strict=True):
        said = [f"{row.sentinels_right} of {row.sentinels} sentinels right"] if bad else []
        if same:
            left = row.left_share > 0.5
            share = row.left_share if left else 1 - row.left_share
            said.append(f"chose the {'left' if left else 'right'} side in {share:.0%} of {row.votes} votes")
        reasons.append("; ".join(said))
    return reasons
