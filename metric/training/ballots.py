"""What observers answered, as tensors that a loss reads, and how far each observer is to be trusted.

An observer of attention c in [0, 1] answers as the typical one in a share c of trials and tosses a coin in the others:
p_c = 1/2 + c (p - 1/2). With the reliability r (the chance to choose what is right, `report/observers.csv`) of the
observer and of the typical one, c = (2 r - 1) / (2 r_typical - 1), at most 1.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from metric.data.judgments import Data
from study.errors import InputError

LEVELS = 16  # attention in steps of 1/16: equal answers of equally attentive observers share a column


@dataclass(frozen=True)
class Ballots:
    """The answers to B questions, `(B, M)` each: column m holds those of equally attentive observers, or nothing."""

    prefer_b: Tensor
    """The share from 0 to 1 that chose b ("not sure" is half a vote), or saw a difference."""
    count: Tensor
    """How many answers; 0 fills a row up."""
    attention: Tensor
    """Of these observers, from 0 (toss coins) to 1 (as the typical one)."""

    def rows(self, index: Tensor) -> Self:
        """The ballots of some questions, `(len(index), M)`."""
        return type(self)(*(part.index_select(0, index) for part in (self.prefer_b, self.count, self.attention)))

    def share(self) -> Tensor:
        """`(B,)`: the share of all votes for b."""
        return (self.prefer_b * self.count).sum(dim=1) / self.count.sum(dim=1)

    def __len__(self) -> int:
        return len(self.count)


def counted(prefer_b: np.ndarray | pd.Series, votes: np.ndarray | pd.Series) -> Ballots:
    """Ballots `(B, 1)` where `prefer_b` of `votes` answers chose b, all observers being alike."""
    chose, count = (torch.tensor(np.asarray(part, float), dtype=torch.float32)[:, None] for part in (prefer_b, votes))
    return Ballots(chose / count, count, torch.ones_like(count))


def ballots_of(data: Data, reliability: bool = True) -> Ballots:
    """The ballots of `data.comparisons`, in their order; InputError for votes that cannot be.

    With `reliability`, each answer counts with its observer's attention, where observers and their reliability are
    known; else all observers are alike.
    """
    check_votes(data.comparisons, "prefer_b", data.name)
    whole = counted(data.comparisons["prefer_b"], data.comparisons["votes"])
    if not reliability or data.answers.empty or data.reliability.empty:
        return whole
    attention = attention_of(data.reliability, data.answers["observer"])
    if (attention == 1).all():
        return whole
    answers = data.answers.assign(attention=attention.reindex(data.answers["observer"]).to_numpy())
    answers = answers.fillna({"attention": 1.0})
    groups = answers.groupby(["comparison", "attention"])["prefer_b"].agg(["sum", "size"]).reset_index()
    row = pd.Index(data.comparisons["id"]).get_indexer(groups["comparison"])
    groups, row = groups[row >= 0], row[row >= 0]
    column = pd.Series(row).groupby(row).cumcount().to_numpy()
    shape = (len(whole), int(column.max()) + 1) if len(column) else (len(whole), 1)
    chose, count, weight = np.zeros(shape), np.zeros(shape), np.ones(shape)
    chose[row, column], count[row, column] = groups["sum"], groups["size"]
    weight[row, column] = groups["attention"]
    # Where single answers are not known, or not all of them, the counts are what there is.
    votes = data.comparisons["votes"].to_numpy(float)
    other = ~np.isclose(count.sum(axis=1), votes)
    chose[other], count[other], weight[other] = 0, 0, 1
    chose[other, 0], count[other, 0] = data.comparisons["prefer_b"].to_numpy(float)[other], votes[other]
    parts = (chose / np.maximum(count, 1e-9), count, weight)
    return Ballots(*(torch.tensor(part, dtype=torch.float32) for part in parts))


def attention_of(reliability: pd.Series, answered_by: pd.Series) -> pd.Series:
    """Attention from 0 to 1 of each observer; all 1 where reliabilities differ no more than chance makes them.

    A reliability from n answers scatters by r (1 - r) / n. Observed differences are therefore shrunk towards the
    typical observer (the median over answers) by the share of their variance that is more than that (empirical Bayes,
    as Efron and Morris 1975); what is left of alike observers is attention 1 for all.
    """
    votes = answered_by.value_counts()
    r = reliability[~reliability.index.duplicated()].reindex(votes.index).dropna().astype(float).clip(0.5, 1)
    if r.empty:
        return pd.Series(dtype=float)
    votes = votes.reindex(r.index)
    order = r.sort_values().index
    typical = float(r[order][votes[order].cumsum() >= votes.sum() / 2].iloc[0])
    if typical <= 0.5:  # most toss coins: nobody's word can be weighed against theirs
        return pd.Series(1.0, index=r.index)
    chance = typical * (1 - typical) / votes
    between = max(0.0, float(np.average((r - typical) ** 2 - chance, weights=votes)))
    shrunk = typical + (r - typical) * between / (between + chance).clip(lower=1e-12)
    attention = (2 * shrunk - 1) / (2 * typical - 1)
    return (attention.clip(0, 1) * LEVELS).round() / LEVELS


def check_votes(table: pd.DataFrame, column: str, name: str) -> None:
    """Raise InputError unless `votes` > 0 and `column` is from 0 to `votes` in every row."""
    chosen, votes = (pd.to_numeric(table[c], errors="coerce").to_numpy(float) for c in (column, "votes"))
    wrong = np.flatnonzero(~((votes > 0) & (votes < np.inf) & (chosen >= 0) & (chosen <= votes)))
    if wrong.size:
        row = table.iloc[wrong[0]]
        raise InputError(
            f"{name}: comparison {row['id']}: {column} {row[column]} of votes {row['votes']};"
            f" expected 1 vote or more, and {column} from 0 to votes"
        )
