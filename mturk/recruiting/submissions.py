"""Prolific's export of submissions, held against who came to the page."""

import argparse
import sqlite3
from collections import Counter
from pathlib import Path

from mturk.reviewing import sheet
from study.errors import InputError
from study.folder import Study
from study.recruiting_settings import Recruiting
from study.votes import connect

EXPORT = ["submission id", "participant id", "status", "completion code"]  # of Prolific's CSV, in small letters
COLUMNS = ["submission", "participant", "status", "observer", "outcome", "problem"]
GIVEN_BACK = ("RETURNED", "TIMED-OUT", "TIMED OUT")
UNDER_WAY = ("ACTIVE", "RESERVED")


def collected_path(study: Study) -> Path:
    """Where the reconciled submissions are kept."""
    return study.root / "submissions-prolific.csv"


def run(study: Study, options: argparse.Namespace) -> None:
    """Read the export, match it with the table `recruits`, keep the result, and say what does not fit."""
    rows = sheet.read(options.submissions, EXPORT)
    recruits = _recruits(study)
    settings = study.settings.recruiting
    found = {(row["submission"], row["participant"]): row for row in read_collected(study)}
    seen: dict[str, int] = {}
    for line, cells in rows:
        submission, participant, status, code = (sheet.of_text(cells[name]) for name in EXPORT)
        if not submission or not participant:
            raise InputError(f"{options.submissions}, line {line}: no submission id or no participant id")
        if submission in seen:
            raise InputError(f"{options.submissions}, line {line}: submission {sheet.shown(submission)} stands in line"
                             f" {seen[submission]} already; export it again")  # fmt: skip
        seen[submission] = line
        recruit = recruits.get((submission.lower(), participant.lower()))
        others = [person for task, person in recruits if task == submission.lower()]
        finished = recruit is not None and recruit["outcome"] == "finished"  # one task a session
        found[submission, participant] = {
            "submission": submission,
            "participant": participant,
            "status": status.upper(),
            "observer": recruit["observer"] if recruit and finished else "",
            "outcome": (recruit["outcome"] or "") if recruit else "",
            "problem": _problem(settings, recruit, others, status.upper(), code),
        }
    kept = list(found.values())
    sheet.write(
        collected_path(study),
        COLUMNS,
        [{name: sheet.as_text(value) for name, value in row.items()} for row in kept],
    )
    for row in kept:
        if row["problem"] and row["submission"] in seen:
            print(f"submission {sheet.shown(row['submission'])}: {row['problem']}")
    counts = Counter(row["status"] or "no status" for row in kept)
    print(", ".join(f"{number:,} {sheet.shown(status)}" for status, number in sorted(counts.items())) or "none")
    listed = {(row["submission"].lower(), row["participant"].lower()) for row in kept}
    missing = sum(name not in listed and recruit["observer"] is not None for name, recruit in recruits.items())
    if missing:
        print(f"{missing:,} sessions of the page are not in the file; export it again when they are submitted")
    print(f"{collected_path(study)} written; next: eyetune recruit review {study.root} --channel prolific")


def read_collected(study: Study) -> list[dict[str, str]]:
    """The submissions that were collected so far; none before the first time."""
    path = collected_path(study)
    if not path.exists():
        return []
    rows = sheet.read(path, COLUMNS)
    return [{name: sheet.of_text(cell) for name, cell in cells.items()} for _, cells in rows]


def _recruits(study: Study) -> dict[tuple[str, str], sqlite3.Row]:
    if not study.votes_path.exists():
        return {}
    with connect(study.votes_path) as store:
        rows = store.execute("SELECT * FROM recruits WHERE channel = 'prolific'").fetchall()
    return {(row["task"].lower(), row["person"].lower()): row for row in rows}


def _problem(settings: Recruiting, recruit: sqlite3.Row | None, others: list[str], status: str, code: str) -> str:
    """Why a person must look at the submission; empty where all fits."""
    if status in UNDER_WAY:
        return ""
    if recruit is None:
        if status in GIVEN_BACK:
            return ""
        return "came to the page under another participant id" if others else "never came to the page"
    outcome = recruit["outcome"]
    if status in GIVEN_BACK:
        return "has a finished session, but gave the place back on Prolific" if outcome == "finished" else ""
    if outcome is None:
        return "its session is not finished"
    expected = {
        "finished": settings.prolific_completed,
        "screened out": settings.prolific_screened_out,
        "full": settings.prolific_full,
    }.get(outcome, "")
    if outcome != "finished":
        said = {"again": "took part before", "full": "came when no place was left"}.get(outcome, outcome)
        return f"{said}; ask on Prolific to return it, or pay what its completion path promises"
    if code and expected and code.upper() != expected.upper():
        return f"typed the code {sheet.shown(code, 20)}, but has a finished session"
    return ""
