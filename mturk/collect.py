"""`eyetune mturk collect DIR`: fetch what workers submitted, and match it with the votes.

Votes of the voting page are stored already; a form's come with the assignment and become the same judgments. Who took
part gets the qualification by which MTurk does not offer the study again. Nothing is paid.
"""

import argparse
from contextlib import closing
from pathlib import Path

from mturk.requester.client import add_market_options, command, open_market
from mturk.requester.lock import paying
from mturk.requester.submissions import refresh
from mturk.requester.took_part import grant
from study.folder import Study
from study.tokens import secret_key
from study.votes import connect

COUNTS = """
SELECT count(*), count(*) FILTER (WHERE status = 'Submitted'), count(*) FILTER (WHERE status = 'Approved'),
       count(*) FILTER (WHERE status = 'Rejected'), min(auto_approval_at) FILTER (WHERE status = 'Submitted')
FROM assignments WHERE market = ?
"""

# Their time ran out before the submission, or they closed the page: the work is done, and nobody pays it.
UNSUBMITTED = """
SELECT person, task, ended_at FROM recruits WHERE channel = 'mturk' AND market = :market AND outcome = 'finished'
AND NOT EXISTS (SELECT 1 FROM assignments WHERE assignments.market = :market AND worker = recruits.person
                AND assignments.observer = recruits.observer)
ORDER BY ended_at
"""


def main(argv: list[str] | None = None) -> int | None:
    """Collect, and say what there is."""
    parser = argparse.ArgumentParser(prog="eyetune mturk collect", description=__doc__)
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    add_market_options(parser)
    options = parser.parse_args(argv)

    study = Study(options.study)
    # Not beside a paying command: it could write a HIT's state over a newer one, by which the cap counts.
    with paying(study), closing(open_market(options)) as requester, connect(study.votes_path) as store:
        found = refresh(store, requester, secret_key(study))
        found.problems += grant(store, requester, study)
        submitted, waiting, approved, rejected, due = store.execute(COUNTS, [requester.market]).fetchone()
        unsubmitted = store.execute(UNSUBMITTED, {"market": requester.market}).fetchall()
    for row in unsubmitted:
        print(f"worker {row['person']} finished at {row['ended_at']}, but assignment {row['task']} was not submitted")
    for problem in found.problems:
        print(problem)
    print(f"{submitted:,} submitted, {found.new:,} of them new")
    print(f"{approved:,} approved, {rejected:,} rejected, {waiting:,} to review")
    if waiting:
        print(f"MTurk approves the first of them by itself at {due}; next: {command('review', study, options)}")
    return 0
