"""`eyetune plan DIR`: how many votes a study takes, of how many observers, what they cost, and what they will tell.

Of its comparisons as they are, each with as many votes as session.votes_per_triplet says; or of another budget:

    eyetune plan DIR --votes 5000                      # what so many votes buy, and what to put into study.toml
    eyetune plan DIR --width 0.5                       # how many votes make the intervals that narrow on average
    eyetune plan DIR --scores pilot/report/bradley_terry.csv

Widths are those of the 95 % intervals of Bradley-Terry scores, in natural log-odds: a difference of 1 is 73 % of the
votes. They follow from the scores that are expected: of the study's own votes so far, or of --scores, else all equal.
Nothing is written.
"""

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.asked import Asked, asked_now, conditions_of, crops_of
from analysis.effort import SECONDS, effort, pace, sessions
from analysis.expected_scores import Expected, equal_scores, scores_of_report, scores_so_far
from analysis.told import heading, labelled, on_each, powers, precision
from study.design.conditions import REFERENCE, condition_of
from study.design.from_settings import design_of
from study.design.widths import Plan, pair_counts, plan_votes, votes_for_width
from study.errors import InputError
from study.folder import VOTERS, Study
from study.records import Judgment
from study.settings import Triplets
from study.tables import frame

MOST_VOTES = 10**8
PLANNED = ("same-rate", "ladder", "random")
"""Designs that a budget is laid out for anew."""
UNPLANNED = {
    "codecs-and-rates": "has a number of its own for each kind of pair",
    "stratified": "chooses by a metric's distances",
    "disagreement": "chooses by metrics' distances",
    "jnd": "compares with the reference",
}


def main(argv: list[str] | None = None) -> int | None:
    """Print the plan."""
    parser = argparse.ArgumentParser(
        prog="eyetune plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", metavar="DIR", type=Path, help="a study folder with stimuli")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--votes", type=int, metavar="N", help="test votes that are to be had, in all")
    budget.add_argument("--width", type=float, metavar="W", help="mean width of the intervals that is wanted, log-odds")
    parser.add_argument(
        "--scores", type=Path, metavar="FILE",
        help="a report's bradley_terry.csv with the scores to expect (default: this study's own votes, else all equal)",
    )  # fmt: skip
    parser.add_argument(
        "--voters", choices=VOTERS, default="auto", help="whose votes, as eyetune analyze (%(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S",
        help=f"time a question takes (default: the median of people's answers so far, else a guess of {SECONDS:g})",
    )  # fmt: skip
    options = parser.parse_args(argv)
    _check(options)

    study = Study(options.study)
    conditions = conditions_of(study)
    now = asked_now(study)
    judgments = _judgments(study)
    if options.scores:
        expected = scores_of_report(options.scores, conditions)
    elif len(judgments) or options.voters != "auto":
        expected = scores_so_far(study, options.voters, conditions)
    else:
        expected = equal_scores(conditions)
    if options.votes is not None:
        asked, lines = bought(study, now, conditions, expected, options.votes)
    elif options.width is not None:
        asked, lines = narrowed(study, now, conditions, expected, options.width)
    else:
        asked, lines = now, []
    needs = [asked.votes_each] * asked.comparisons
    if asked.pairs is now.pairs:
        needs, said = still_to_come(study, judgments, asked.votes_each)
        lines += said
    if study.settings.session.choice == "active":
        lines.append("active:       some pairs are asked more often: this is for when all triplets have their votes")
    number = sessions(needs, study.settings.session.trials)
    lines += effort(study, number, pace(study, judgments, options.seconds))
    lines += precision(asked, conditions, expected)
    lines += powers(asked)
    print("\n".join([*heading(asked, conditions), *lines]))
    return 0


def bought(
    study: Study, now: Asked, conditions: Sequence[str], expected: Expected, votes: int
) -> tuple[Asked, list[str]]:
    """What a budget of `votes` buys: in the settings' design, or on the triplets that are there."""
    settings = study.settings.triplets
    if settings.design not in PLANNED:
        each = votes // now.comparisons
        if not each:
            raise InputError(
                f"--votes {votes}: the {now.comparisons:,} test triplets take a vote each at least; make fewer in"
                f" [triplets] of study.toml, or set there a design that is planned anew: {', '.join(PLANNED)}"
            )
        lines = [
            f"design:       {settings.design} {UNPLANNED[settings.design]}: planned for the triplets that are there",
            *_toml({"session": {"votes_per_triplet": each}}),
        ]
        asked = now._replace(votes_each=each)
    else:
        found = _planned(study, settings.design, votes, expected)
        named = [(condition_of(a), condition_of(b)) for pairs in found.pairs for a, b in pairs]
        asked = Asked(len(named), named, found.votes_each, [])
        lines = [f"design:       {settings.design}, {found.number:,} pairs a crop, {on_each(found.votes_each)}"]
        lines += _toml({"triplets": {"pairs": found.number}, "session": {"votes_per_triplet": found.votes_each}})
        lines.append(
            "then:         these triplets have votes, so that is for a new study"
            if study.has_votes()
            else f"then:         eyetune distort {study.root} --force"
        )
    others = [name for name in PLANNED if name != settings.design]
    said = [f"{name}: {_instead(study, name, votes, expected)}" for name in others]
    return asked, [*lines, *labelled("instead:", said)]


def narrowed(
    study: Study, now: Asked, conditions: Sequence[str], expected: Expected, width: float
) -> tuple[Asked, list[str]]:
    """How many votes on each of the triplets that are there make the mean width at most `width`."""
    if not now.pairs:
        raise InputError(f"--width {width:g}: no test triplet compares two conditions, so there are no scores")
    need = votes_for_width(width, pair_counts(now.pairs, conditions), [expected.scores[name] for name in conditions])
    each = math.ceil(need / len(now.pairs))
    lines = [
        f"wanted:       a mean width of {width:g}: {need:,} votes",
        *_toml({"session": {"votes_per_triplet": each}}),
    ]
    return now._replace(votes_each=each), lines


def still_to_come(study: Study, judgments: pd.DataFrame, each: int) -> tuple[list[int], list[str]]:
    """How many votes of people each test triplet lacks, and lines on those so far; simulated ones are no people's."""
    tests = study.triplets.loc[study.triplets["kind"] == "test", "id"].tolist()
    judgments = judgments[judgments["triplet"].isin(tests)]
    simulated = judgments["simulated"].astype(bool)
    there = Counter(judgments.loc[~simulated, "triplet"])
    needs = [max(0, each - there[triplet]) for triplet in tests]
    lines = []
    if there:
        lines.append(f"so far:       {there.total():,} human test votes; {sum(needs):,} are still to come, in:")
    if simulated.any():
        lines.append(f"so far:       {simulated.sum():,} SIMULATED test votes, none of which is a person's")
    return needs, lines


def _planned(study: Study, name: str, votes: int, expected: Expected) -> Plan:
    crops, settings = crops_of(study), Triplets.model_validate({"design": name})
    for stimuli in crops:
        if REFERENCE not in {stimulus.codec for stimulus in stimuli}:  # an import's
            raise InputError(
                f"{study.stimuli_path}: the crop of {stimuli[0].source} has no reference to plan pairs for"
            )
    each = study.settings.session.votes_per_triplet
    return plan_votes(crops, design_of(settings), votes, each, expected.scores, study.settings.seed)


def _instead(study: Study, name: str, votes: int, expected: Expected) -> str:
    try:
        found = _planned(study, name, votes, expected)
    except InputError as error:
        return f"no, {error}"
    mean = float(np.mean(found.widths))
    return f"{found.number:,} pairs a crop, {on_each(found.votes_each)}, mean width {mean:.2f}"


def _toml(sections: dict[str, dict[str, int]]) -> list[str]:
    """Lines to put into study.toml."""
    lines = [
        line
        for section, values in sections.items()
        for line in (f"[{section}]", *(f"{key} = {value}" for key, value in values.items()))
    ]
    return labelled("study.toml:", lines)


def _judgments(study: Study) -> pd.DataFrame:
    """All votes that are not rejected; none where there are none."""
    if not study.has_votes():
        return frame([], Judgment)
    table = study.all_judgments()
    return table[table["rejected"].isna()]


def _check(options: argparse.Namespace) -> None:
    """Raise InputError for a number that makes no sense."""
    if options.votes is not None and not 1 <= options.votes <= MOST_VOTES:
        raise InputError(f"--votes {options.votes}: must be from 1 to {MOST_VOTES:,}")
    if options.width is not None and not 0.01 <= options.width <= 100:
        raise InputError(f"--width {options.width:g}: must be from 0.01 to 100 (log-odds)")
    if options.seconds is not None and not 0 < options.seconds <= 3600:
        raise InputError(f"--seconds {options.seconds:g}: must be above 0 and at most 3,600")


if __name__ == "__main__":
    import sys

    from study.command import run

    sys.exit(run(main))
