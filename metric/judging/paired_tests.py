"""Is a metric really better than another on the same comparisons? Differences of 2AFC, with intervals and p values."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from analysis.agreement import agreeing_share
from analysis.resampling import estimate, group_sums, replicate_means
from analysis.significance import holm, sign_flip_p
from metric.data.judgments import Data

COLUMNS = ["metric", "against", "difference", "low", "high", "p", "p_holm", "comparisons", "voters"]


def paired_tests(
    data: Data,
    distances: Mapping[str, pd.DataFrame],
    tested: Iterable[str],
    against: Iterable[str],
    best: bool = False,
) -> pd.DataFrame:
    """A row for each of `tested` against each of `against` (names in `distances`): COLUMNS.

    `difference`: how much more of the votes agree with the first (2AFC, a share), with the interval of paired bootstrap
    means over photographs; `p` of the sign-flip permutation test over photographs; `p_holm`, Holm's, for all rows, and
    where `tested` was chosen as the `best` by these votes, for all pairs of metrics: any might have been picked.
    """
    voted = data.comparisons
    wanted = [(one, two) for one in dict.fromkeys(tested) for two in dict.fromkeys(against) if one != two]
    seen: set[frozenset[str]] = set()
    chosen = [pair for pair in wanted if frozenset(pair) not in seen and not seen.add(frozenset(pair))]  # type: ignore[func-returns-value]
    if not chosen or voted.empty:
        return pd.DataFrame(columns=COLUMNS)
    shares = {}
    for name in {name for pair in chosen for name in pair}:
        d = distances[name].reindex(voted["id"])
        shares[name] = agreeing_share(voted["prefer_b"], voted["votes"], d["distance_a"], d["distance_b"])
    differences = np.stack([shares[one] - shares[two] for one, two in chosen], axis=1)
    photographs, members = np.unique(voted["source"].to_numpy(str), return_inverse=True)
    sums = group_sums(differences, np.ones_like(differences), members)
    (replicates,) = replicate_means([sums], len(photographs))
    rows = []
    for k, (one, two) in enumerate(chosen):
        found = estimate(float(differences[:, k].mean()), replicates[:, k], len(voted))
        p = sign_flip_p(shares[one], shares[two], members)
        rows.append((one, two, found.value, found.low, found.high, p, np.nan, found.n, data.voters))
    table = pd.DataFrame(rows, columns=COLUMNS)
    metrics = {name for pair in chosen for name in pair}
    return table.assign(p_holm=holm(table["p"], math.comb(len(metrics), 2) if best else None))


def text(table: pd.DataFrame) -> str:
    """The table for a terminal, in points of per cent."""
    width = max(len(f"{row.metric} - {row.against}") for row in table.itertuples())
    lines = [f"  {'':<{width}}  points   95 % interval       p  p (Holm)"]
    for row in table.itertuples():
        interval = f"{100 * row.low:+5.1f} to {100 * row.high:+5.1f}" if row.low == row.low else ""
        name = f"{row.metric} - {row.against}"
        lines.append(
            f"  {name:<{width}}  {100 * row.difference:+6.2f}   {interval:<14}  {_p(row.p)}     {_p(row.p_holm)}"
        )
    return "\n".join(lines)


def _p(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}"[-5:].lstrip("0").rjust(5) if value < 1 else "    1"
