"""The plan for people whom Prolific or personal links brought: pay, and pay and use."""

import argparse
import sqlite3
from collections import Counter
from typing import Literal

from mturk.recruiting.submissions import GIVEN_BACK, UNDER_WAY, read_collected
from mturk.reviewing import sheet
from mturk.reviewing.evidence import observer_quality, session_oddities
from mturk.reviewing.plan import COLUMNS, Work, plan_path, plan_row, propose, summary
from study.errors import InputError
from study.fees import cents
from study.folder import Study
from study.votes import connect

Channel = Literal["prolific", "link"]

FINISHED_LINKS = """
SELECT * FROM recruits WHERE channel = 'link' AND outcome = 'finished' ORDER BY ended_at, task
"""
RECORDED = "SELECT subject, person FROM ledger WHERE channel = ? AND action IN ('approve', 'reject')"


def run(study: Study, options: argparse.Namespace) -> None:
    """Write the plan and say what it would cost."""
    channel: Channel = options.channel
    out = options.out or plan_path(study, channel)
    if out.exists() and not options.force:
        raise InputError(f"{out} exists, perhaps edited; name another --out, or replace it with --force")
    if not study.votes_path.exists():
        raise InputError(f"{study.root} has no votes yet; nobody came")
    with connect(study.votes_path) as store:
        known = channel_work(study, store, channel)
        recorded = {tuple(row) for row in store.execute(RECORDED, [channel])}
    if not known and channel == "prolific":
        raise InputError(
            f"{study.root} has no submissions of Prolific yet; read its export with:"
            f" eyetune recruit collect {study.root} --submissions FILE.csv"
        )
    waiting = [work for name, work in known.items() if name not in recorded]
    if not waiting:
        print(f"nothing to review by {channel}: {len(known):,} finished, all recorded as paid or rejected")
        return
    quality = observer_quality(study)
    proposals = [(work, quality.get(work.observer or "")) for work in waiting]
    planned = [(work, known_of, propose(work, known_of)) for work, known_of in proposals]
    sheet.write(out, COLUMNS, [plan_row(*row) for row in planned])
    print(f"{out} written: {len(planned):,} by {channel}")
    reward = cents(study.settings.recruiting.reward_usd)
    print("\n".join(summary((proposal, reward, 0) for _, _, proposal in planned)))
    print(f"read and edit it, then: eyetune recruit paid {study.root} --channel {channel}")


def channel_work(study: Study, store: sqlite3.Connection, channel: Channel) -> dict[tuple[str, str], Work]:
    """What people of the channel submitted or finished, by (task, person), in its order."""
    oddities = session_oddities(store)
    if channel == "link":
        rows = [(row["task"], row["person"], "", row["observer"], "") for row in store.execute(FINISHED_LINKS)]
    else:
        rows = [
            (row["submission"], row["participant"], row["status"], row["observer"] or None, row["problem"])
            for row in read_collected(study)
            if row["status"] not in UNDER_WAY and (row["status"] not in GIVEN_BACK or row["problem"])
        ]
    sessions: Counter[str] = Counter()
    found = {}
    for task, person, status, observer, problem in rows:
        doubt = ""
        if observer is not None and not problem:
            sessions[person] += 1
            if sessions[person] > study.settings.recruiting.sessions_per_person:
                doubt = "took part before"
        found[task, person] = Work(
            task=task,
            person=person,
            place=status,
            observer=observer,
            submitted_at="",
            auto_approval_at="",
            problem=problem or oddities.get(observer or "", ""),
            doubt=doubt,
        )
    return found
