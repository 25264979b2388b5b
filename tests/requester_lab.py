"""A study whose HITs are on a real local MTurk, with workers who did them: for tests of reviewing and paying."""

import csv
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from submitted_work import SESSION, add_session

from mturk import review
from mturk.publish import publish
from mturk.requester import client, ledger
from mturk.requester.submissions import refresh
from mturk.reviewing.approvals import pay_plan
from mturk.reviewing.bonuses import pay_bonuses
from mturk.server.api import create_api
from mturk.server.state import State, open_state
from mturk.server.worklife import accept, add_worker, available_hits, submit
from study.folder import Study
from study.recruits import Arrival, bind, close
from study.tokens import secret_key, sign
from study.votes import connect, transaction

HITS = {"sessions": 9, "url": "http://127.0.0.1:1/", "spending_cap_usd": "20.00", "reward_usd": "1.00"}


class Watched:
    """A WSGI application that counts the API's calls, and loses the answers of the operations in `lose`."""

    def __init__(self, api) -> None:
        self.api, self.calls, self.lose = api, Counter(), set()
        self.refuse: set[str] = set()

    def __call__(self, environ, start_response):
        operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")[2]
        self.calls[operation] += 1
        if operation in self.refuse:
            body = json.dumps({"__type": "RequestError", "Message": "no", "TurkErrorCode": "AWS.MechanicalTurk.No"})
            environ["wsgi.input"].read()
            headers = [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))]
            start_response("400 Bad Request", headers)
            return [body.encode()]
        answer = list(self.api(environ, start_response))
        if operation in self.lose:
            raise RuntimeError("the answer is lost")
        return answer


class Lab:
    """A study, a local MTurk in this process with a clock that can be moved, and an account there."""

    def __init__(self, study, folder: Path, market: str = "local") -> None:
        self.study, self.market = study, market
        self.late = timedelta(0)
        self.state: State = open_state(folder / "panel.sqlite", lambda: datetime.now(UTC) + self.late)
        self.watched = Watched(create_api(self.state))
        self.key = secret_key(study)
        self.requester: client.Requester | None = None

    def open(self, endpoint: str, **options) -> "Lab":
        """Connect, and publish the study's HITs."""
        self.requester = client.Requester(self.market, endpoint, **options)
        publish(self.study, self.requester, check_page=False)
        return self

    def close(self) -> None:
        if self.requester:
            self.requester.close()
        self.state.close()

    def work(self, observer: str, proof: str | None = None, **session) -> tuple[str, str]:
        """A new worker takes a HIT and submits: (assignment, worker)."""
        self.late += timedelta(seconds=1)  # MTurk tells whole seconds: so that who came first submitted first
        worker = add_worker(self.state, observer)
        hit = available_hits(self.state, worker)[0]["hit_id"]
        assignment = accept(self.state, worker, hit)
        add_session(self.study, observer, **session)
        arrival = Arrival("mturk", self.market, worker, assignment, hit)
        with connect(self.study.votes_path) as store, transaction(store):
            bind(store, arrival, observer)
            close(store, observer, "finished")
        token = proof or sign(self.key, "done", observer)
        submit(self.state, worker, assignment, [("eyetune", token)])
        return assignment, worker

    def collect(self) -> None:
        assert self.requester
        with connect(self.study.votes_path) as store:
            refresh(store, self.requester, self.key)

    def plan(self, edits: dict[str, dict[str, str]] | None = None, *options: str) -> Path:
        """A new plan of all that was collected, with `edits` of its cells by assignment."""
        path = self.study.root / "plan.csv"
        market = {"live": ["--live"], "sandbox": ["--sandbox"]}.get(self.market, [])
        review.main([str(self.study.root), "--force", "--all", "--out", str(path), *market, *options])
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for row in rows:
                writer.writerow(row | (edits or {}).get(row["assignment"], {}))
        return path

    def pay(self, plan: Path) -> None:
        assert self.requester
        pay_plan(self.study, self.requester, plan)

    def bonus(self, plan: Path, label: str = "1", reason: str = "thanks") -> None:
        assert self.requester
        pay_bonuses(self.study, self.requester, plan, label, reason)

    def statuses(self) -> dict[tuple[str, str], str]:
        """What MTurk says."""
        with self.state.transaction() as connection:
            rows = connection.execute("SELECT id, worker, status FROM assignments")
            return {(row["id"], row["worker"]): row["status"] for row in rows}

    def bonuses(self) -> list[tuple[str, str, int, str]]:
        """What MTurk has paid: (assignment, worker, cents, reason)."""
        with self.state.transaction() as connection:
            rows = connection.execute("SELECT assignment, worker, bonus_cents, reason FROM bonuses ORDER BY serial")
            return [tuple(row) for row in rows]

    def stored(self) -> dict[tuple[str, str], str]:
        """What the study's store says."""
        with connect(self.study.votes_path) as store:
            rows = store.execute("SELECT id, worker, status FROM assignments WHERE market = ?", [self.market])
            return {(row["id"], row["worker"]): row["status"] for row in rows}

    def set_cap(self, cap_usd: str) -> None:
        path = self.study.settings_path
        path.write_text(path.read_text().replace('spending_cap_usd = "20.00"', f'spending_cap_usd = "{cap_usd}"'))
        self.study = Study(self.study.root)
        assert self.study.settings.hits.spending_cap_usd == cap_usd

    def account(self) -> tuple[int, int]:
        """Paid and promised by the ledger, in cents."""
        with connect(self.study.votes_path) as store:
            found = ledger.account(store, self.market)
            return found.paid, found.promised

    def balance(self) -> tuple[int, int]:
        """Spent and held by MTurk's own books, in cents."""
        assert self.requester
        answer = self.requester.call("GetAccountBalance")
        available, held = (round(100 * float(answer[name])) for name in ("AvailableBalance", "OnHoldBalance"))
        return 1_000_000 - available - held, held

    def rejected(self) -> dict[str, str | None]:
        """Why votes are left out, by observer."""
        with connect(self.study.votes_path) as store:
            rows = store.execute(
                "SELECT DISTINCT observer, rejected FROM votes JOIN trials ON trials.id = votes.trial"
            ).fetchall()
        found = dict(map(tuple, rows))
        assert len(found) == len(rows)  # all votes of an observer alike
        return found


__all__ = ["HITS", "SESSION", "Lab", "Watched"]
