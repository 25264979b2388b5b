"""What the votes of a plan will tell, as lines: which conditions they link, how wide intervals will be, the power."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from analysis.asked import Asked
from analysis.expected_scores import Expected
from analysis.power import LEVEL, POWER, smallest_preference, votes_to_tell
from study.design.graph import linked_groups
from study.design.information import Floats
from study.design.widths import pair_counts, predicted_widths

NAMED = 6  # conditions, or groups of them, that one line names
FEW = 100  # votes a condition; `study.design.widths` has how far the prediction is off
PREFERENCES = (0.6, 0.65, 0.7, 0.75)


def on_each(votes: int) -> str:
    """How many votes each comparison gets."""
    return f"{votes:,} {'vote' if votes == 1 else 'votes'} on each"


def labelled(label: str, lines: Sequence[str]) -> list[str]:
    """The lines in the column of text, the first behind its label."""
    return [f"{label if not place else '':<14}{line}" for place, line in enumerate(lines)]


def heading(asked: Asked, conditions: Sequence[str]) -> list[str]:
    """Lines on the conditions, whether they are linked, and the comparisons."""
    groups = sorted(linked_groups(asked.pairs, conditions), key=len, reverse=True)
    lines = [f"conditions:   {len(conditions):,}, all linked by comparisons"]
    if not asked.pairs:
        lines = [f"conditions:   {len(conditions):,}, none compared with another"]
    elif len(groups) > 1:
        order = {name: place for place, name in enumerate(conditions)}
        listed = [_named(sorted(map(str, group), key=order.__getitem__)) for group in groups[:NAMED]]
        more = f"; and {len(groups) - NAMED:,} more" if len(groups) > NAMED else ""
        lines = [
            f"conditions:   {len(conditions):,} in {len(groups):,} groups that are NOT LINKED by comparisons, so scores"
            f" compare only within one: {'; '.join(listed)}{more}"
        ]
    mute = asked.comparisons - len(asked.pairs)
    return [
        *lines,
        f"comparisons:  {asked.comparisons:,} test triplets, {on_each(asked.votes_each)}: {asked.votes:,} votes",
        *(
            [f"              {mute:,} of them compare no two conditions, so scores learn nothing from them"]
            if mute
            else []
        ),
    ]


def precision(asked: Asked, conditions: Sequence[str], expected: Expected) -> list[str]:
    """Lines on the predicted width of each condition's interval, and their mean."""
    lines = labelled("scores:", expected.source)
    counts = pair_counts(asked.pairs, conditions)
    scores = np.array([expected.scores[name] for name in conditions])
    widths = predicted_widths(counts * asked.votes_each, scores)
    if np.isnan(widths).all():
        return ["widths:       none: no comparison is between two conditions, so there are no scores"]
    lines += ["", *_table(conditions, counts.sum(axis=1), asked.votes_each, scores if expected.known else None, widths)]
    mean = float(np.nanmean(widths))
    ends = 100 * expit([-mean / 2, mean / 2])
    lines += [
        "",
        f"mean width:   {mean:.2f} log-odds: a score is known to within {mean / 2:.2f}, which makes of 50 % of votes"
        f" {ends[0]:.0f} to {ends[1]:.0f} %",
    ]
    if expected.wider == expected.wider:
        lines.append(
            f"              the report's intervals so far are {expected.wider:.2f} times as wide as predicted for their"
            f" votes; so rather {mean * expected.wider:.2f}"
        )
    else:
        lines.append("              for votes that do not depend on who gives them; observers who differ make it wider")
    fewest = counts[counts.sum(axis=1) > 0].sum(axis=1).min() * asked.votes_each
    if fewest < FEW:
        lines.append(
            f"              too narrow by some percent: {fewest:,.0f} votes on one condition are few (docs/planning.md)"
        )
    return lines


def powers(asked: Asked) -> list[str]:
    """Lines on what single comparisons, and those of two conditions, or with the reference, over all crops can tell."""
    lines = [
        f"power:        shares of votes that are told from one half with a chance of {100 * POWER:.0f} %"
        f" (exact test at {LEVEL:g})",
        f"              one comparison, {_told(asked.votes_each)}",
    ]
    for what, times in (
        ("two conditions", Counter(frozenset(pair) for pair in asked.pairs)),
        ("a condition and the reference", Counter(asked.against_reference)),
    ):
        if times:
            least, most = min(times.values()), max(times.values())
            lines.append(f"              {what} in all crops, {_told(least * asked.votes_each)}")
            if most > least:
                lines[-1] += f"; at most {_told(most * asked.votes_each)}"
    needed = ", ".join(f"{100 * share:.0f} % {votes_to_tell(share):,}" for share in PREFERENCES)
    return [*lines, f"              votes that it takes: {needed}"]


def _table(
    conditions: Sequence[str], comparisons: Floats, each: int, scores: Floats | None, widths: Floats
) -> list[str]:
    size = max(map(len, conditions))
    lines = [f"{'condition':<{size}}  comparisons    votes{'' if scores is None else '   score'}  width"]
    for place, name in enumerate(conditions):
        score = "" if scores is None else f"  {scores[place]:6.2f}"
        width = "    -" if np.isnan(widths[place]) else f"{widths[place]:5.2f}"
        lines.append(f"{name:<{size}}  {comparisons[place]:11,.0f}  {comparisons[place] * each:7,.0f}{score}  {width}")
    return lines


def _told(votes: int) -> str:
    share = smallest_preference(votes)
    counted = f"{votes:,} vote{'s' if votes != 1 else ''}"
    return f"{counted}: none, it takes {votes_to_tell(1.0)}" if math.isnan(share) else f"{counted}: {100 * share:.1f} %"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
