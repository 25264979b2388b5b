"""What it takes to gather votes: sessions, observers' hours, dollars."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from analysis.observers import response_seconds
from study.fees import LARGE, cents, dollars, hit_cents, hit_sizes
from study.folder import Study
from study.recruiting_settings import MOST_SESSIONS

SECONDS = 8.0  # a question; our guess, in place of the study's own median: three crops to look at, and a choice

PARTS = {"trials": "test", "sentinels": "sentinel", "repeats": "repeat", "practice": "training"}


class Pace(NamedTuple):
    """How long one question takes."""

    seconds: float
    source: str


def pace(study: Study, judgments: pd.DataFrame, seconds: float | None) -> Pace:
    """`seconds` if given, else the median of the people among `judgments` (of each one's median), else a guess."""
    if seconds is not None:
        return Pace(seconds, "as --seconds says")
    people = judgments[~judgments["simulated"].astype(bool)]
    medians = response_seconds(people).groupby(people["observer"]).median().dropna()
    if len(medians):
        return Pace(float(medians.median()), f"the median of {len(medians):,} people so far")
    return Pace(SECONDS, "a guess until people have voted")


def questions(study: Study) -> dict[str, int]:
    """How many questions of each kind a full session has, by the kind of triplet."""
    there = study.triplets["kind"].value_counts()
    return {kind: min(getattr(study.settings.session, part), int(there.get(kind, 0))) for part, kind in PARTS.items()}


def sessions(needs: Sequence[int], trials: int) -> int:
    """The sessions of `trials` test votes in which each comparison gets as many votes as it `needs`.

    No session asks for one twice. The schedule takes those that need the most first, so it takes no more than these.
    """
    return max(max(needs, default=0), math.ceil(sum(needs) / trials))


def effort(study: Study, number: int, timing: Pace) -> list[str]:
    """Lines on `number` sessions: what is in one, how long they take, what they cost."""
    asked = questions(study)
    total = sum(asked.values())
    minutes = total * timing.seconds / 60
    parts = ", ".join(f"{count} {'practice' if kind == 'training' else kind}" for kind, count in asked.items() if count)
    return [
        f"sessions:     {number:,} of {total} questions ({parts})",
        f"time:         {number * minutes / 60:,.1f} hours of observers, {minutes:.1f} minutes a session:"
        f" {timing.seconds:.1f} s a question, {timing.source}",
        *price(study, number),
    ]


def price(study: Study, number: int) -> list[str]:
    """Lines on what `number` sessions cost: as HITs on MTurk, and outside it where study.toml has a reward for that."""
    hits, outside = study.settings.hits, cents(study.settings.recruiting.reward_usd)
    reward, lines = hits.reward_cents, []
    if not reward:
        lines.append("cost:         nothing as HITs: hits.reward_usd is 0.00")
    elif number > MOST_SESSIONS:
        lines.append(f"cost:         more than {MOST_SESSIONS:,} sessions, the most that [hits] may ask for")
    else:
        sizes = hit_sizes(hits.question, number, reward, hits.workers.masters, hits.batch)
        total = sum(hit_cents(reward, size, hits.workers.masters) for size in sizes)
        large = f", the higher ones of HITs with {LARGE} or more" if max(sizes, default=0) >= LARGE else ""
        lines.append(
            f"cost:         ${dollars(total)} as HITs at ${dollars(reward)} (hits.reward_usd), of which"
            f" ${dollars(total - number * reward)} are MTurk's fees{large}"
        )
        if total > hits.spending_cap_cents:
            lines.append(f"              more than hits.spending_cap_usd, ${dollars(hits.spending_cap_cents)}")
    if outside:
        lines.append(
            f"              ${dollars(number * outside)} outside MTurk at ${dollars(outside)} (recruiting.reward_usd),"
            " without the recruiter's fee"
        )
    return lines
