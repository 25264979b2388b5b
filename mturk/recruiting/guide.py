"""What to fill into Prolific's form for this study, with the study's own numbers."""

import argparse
import math
import sqlite3
from datetime import datetime
from statistics import median

from mturk.recruiting.links import page_address
from study.fees import cents, dollars
from study.folder import Study
from study.recruits import PROLIFIC
from study.votes import connect

LOWEST_HOURLY_CENTS = 800  # Prolific's minimum, $8.00 an hour

SESSIONS = """
SELECT min(observers.joined_at) AS began, max(votes.received_at) AS ended
FROM observers JOIN trials ON trials.observer = observers.id LEFT JOIN votes ON votes.trial = trials.id
WHERE observers.simulator IS NULL GROUP BY observers.id HAVING count(*) = count(votes.trial)
"""


def run(study: Study, options: argparse.Namespace) -> None:
    """Print the guide."""
    settings, recruiting = study.settings, study.settings.recruiting
    session = settings.session
    address = page_address(options.url, "&".join(f"{name}={{{{%{name}%}}}}" for name in PROLIFIC))
    tests = int((study.triplets["kind"] == "test").sum())
    people = math.ceil(tests * session.votes_per_triplet / session.trials)
    questions = session.trials + session.sentinels + session.repeats + session.practice
    minutes = median_minutes(study)
    lines = [
        f"{settings.page.title}: a study on Prolific",
        "",
        "1. New study. Title and description: yours. Devices: desktop only (images are shown pixel by pixel).",
        "2. How do you want to record Prolific IDs: I'll use URL parameters. URL of your study, exactly:",
        f"   {address}",
        "3. How do you want to confirm that participants have completed: redirect them by a URL. Completion paths,",
        "   each with its code, which must be the one in study.toml:",
        _path("prolific_completed", recruiting.prolific_completed, "finished sessions", "manually review"),
        _path(
            "prolific_screened_out", recruiting.prolific_screened_out, "screened out", "screen out, or ask to return"
        ),
        _path("prolific_full", recruiting.prolific_full, "no place left", "ask to return"),
        f"4. Places: {people:,} sessions give {tests:,} comparisons {session.votes_per_triplet:,} votes each"
        f" ({questions} questions a session).",
    ]
    reward = recruiting.reward_usd
    if minutes is None:
        lines.append("5. Time: nobody has finished a session yet; do one yourself, then give this command again.")
    else:
        lines.append(f"5. Time: {math.ceil(minutes)} minutes (median of the finished sessions: {minutes:.1f}).")
    lines.append(f"6. Reward: ${reward} (recruiting.reward_usd in study.toml; Prolific adds its own fee).")
    if minutes:
        hourly = round(cents(reward) * 60 / minutes)
        lines.append(f"   That is ${dollars(hourly)} an hour.")
        if hourly < LOWEST_HOURLY_CENTS:
            lines.append(f"   Too little: Prolific's minimum is ${dollars(LOWEST_HOURLY_CENTS)} an hour.")
    lines += [
        f"7. Start the page (eyetune serve {study.root}), preview the study on Prolific, then publish it.",
        "8. Afterwards: on Prolific, Submissions, Download all data (CSV); then",
        f"   eyetune recruit collect {study.root} --submissions FILE.csv",
        f"   eyetune recruit review {study.root} --channel prolific",
        f"   eyetune recruit paid {study.root} --channel prolific",
        "   which writes the lists for Approve by upload and Bulk bonus payment.",
    ]
    print("\n".join(lines))


def median_minutes(study: Study) -> float | None:
    """From joining to the last answer, over people's finished sessions; None where there is none."""
    if not study.votes_path.exists():
        return None
    with connect(study.votes_path) as store:
        found = [_minutes(row) for row in store.execute(SESSIONS)]
    return median(found) if found else None


def _minutes(row: sqlite3.Row) -> float:
    began, ended = (datetime.fromisoformat(row[name]) for name in ("began", "ended"))
    return (ended - began).total_seconds() / 60


def _path(name: str, code: str, whom: str, action: str) -> str:
    shown = code or f"MISSING: copy the code that Prolific proposes into recruiting.{name}"
    return f"   - {whom} ({action}): {shown}"
