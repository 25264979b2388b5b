"""Kill a paying command at every point between its effects, then give it again; run by test_mturk_exactly_once.

    python tests/kill_walk.py SCENARIO ENDPOINT PANEL FOLDER [STRIDE]

An effect is a statement in a vote store or a request that is sent. The command runs in a forked process that kills
itself (SIGKILL) just before its n-th effect, for n = 1, 2, 3, ... until it runs through. After each kill the same
command is given again, to its end, and the server's account and the ledger are compared with what was asked for.
ENDPOINT is the API of a local MTurk whose state is in the folder PANEL; every n has an account and a study of its own.
"""

import functools
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import boto3
from conftest import small_study

import eyetune
from mturk.requester import ledger
from mturk.server import worklife
from mturk.server.state import open_state
from study.folder import Study
from study.settings import parse_settings, write_settings
from study.votes import connect

REWARD, FEE, BONUS = 50, 10, 25  # cents


class Case(NamedTuple):
    """One account and one study."""

    endpoint: str
    panel: Path
    root: Path
    account: str

    def client(self):
        """The account's own look at the server."""
        keys = {"aws_access_key_id": self.account, "aws_secret_access_key": "x"}
        return boto3.client("mturk", region_name="us-east-1", endpoint_url=self.endpoint, **keys)

    def run(self, *arguments: str, kill_before: int | None = None) -> int:
        """The exit status of `eyetune mturk ...` in a process of its own; -9 where it was killed."""
        child = os.fork()
        if not child:
            os.environ |= {"AWS_ACCESS_KEY_ID": self.account, "AWS_SECRET_ACCESS_KEY": "x"}
            status = 1
            try:
                sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
                sys.stdin = Typist(sys.stdout)
                if kill_before:
                    watch(kill_before)
                verb, *rest = arguments
                status = (
                    eyetune.main(["mturk", verb, str(self.root), "--live", "--endpoint", self.endpoint, *rest]) or 0
                )
            except BaseException:
                sys.__stderr__.write(f"{arguments}: {traceback.format_exc()}\n{sys.stdout.getvalue()}\n")
                sys.__stderr__.flush()
            os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Typist(io.StringIO):
    """A person who types the amount that is asked for."""

    def __init__(self, said: io.StringIO) -> None:
        super().__init__()
        self.said = said

    def readline(self, *_) -> str:
        return re.findall(r"Type ([0-9.]+) to go on: $", self.said.getvalue())[-1] + "\n"


def watch(kill_before: int) -> None:
    """Kill this process just before its effect of this number."""
    effects = 0

    def count(*_) -> None:
        nonlocal effects
        effects += 1
        if effects == kill_before:
            os.kill(os.getpid(), signal.SIGKILL)

    class Watched(sqlite3.Connection):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            self.set_trace_callback(count)

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Watched)
    sys.addaudithook(lambda event, _: count() if event == "http.client.send" else None)


def publish(case: Case) -> tuple[list[str], Callable[[], None]]:
    """Three HITs of two places each."""

    def check() -> None:
        hits = case.client().list_hits()["HITs"]
        assert sorted(hit["MaxAssignments"] for hit in hits) == [2, 2, 2], hits
        compare(case, held=6 * (REWARD + FEE), spent=0)

    return ["publish", "--unchecked"], check


def extend(case: Case) -> tuple[list[str], Callable[[], None]]:
    """From two places to seven in each of three HITs: 6 to 21."""
    assert case.run("publish", "--unchecked") == 0

    def check() -> None:
        hits = case.client().list_hits()["HITs"]
        assert sum(hit["MaxAssignments"] for hit in hits) == 21, hits
        compare(case, held=21 * (REWARD + FEE), spent=0)

    return ["extend", "--sessions", "21"], check


def pay(case: Case) -> tuple[list[str], Callable[[], None]]:
    """Three approvals and one rejection."""
    plan = submitted(case)

    def check() -> None:
        statuses = [row["AssignmentStatus"] for row in all_assignments(case)]
        assert sorted(statuses) == ["Approved", "Approved", "Approved", "Rejected"], statuses
        compare(case, held=2 * (REWARD + FEE), spent=3 * (REWARD + FEE))

    return ["pay", "--plan", str(plan)], check


def bonus(case: Case) -> tuple[list[str], Callable[[], None]]:
    """A bonus for each of the three that are approved."""
    plan = submitted(case)
    assert case.run("pay", "--plan", str(plan)) == 0

    def check() -> None:
        paid = [p for hit in case.client().list_hits()["HITs"] for p in
                case.client().list_bonus_payments(HITId=hit["HITId"])["BonusPayments"]]  # fmt: skip
        assert [p["BonusAmount"] for p in paid] == ["0.25"] * 3 and len({p["AssignmentId"] for p in paid}) == 3, paid
        compare(case, held=2 * (REWARD + FEE), spent=3 * (REWARD + FEE + BONUS + 5))

    return ["bonus", "--plan", str(plan)], check


def submitted(case: Case) -> Path:
    """The reviewed plan of four submitted assignments."""
    assert case.run("publish", "--unchecked") == 0
    state = open_state(case.panel / "panel.sqlite")
    for number in range(4):
        worker = worklife.add_worker(state, f"{case.account} {number}")
        hit = case.client().list_hits()["HITs"][number // 2]["HITId"]
        worklife.submit(state, worker, worklife.accept(state, worker, hit), [("eyetune", "x")])
    assert case.run("collect") == 0
    plan = case.root / "plan.csv"
    assert case.run("review", "--out", str(plan)) == 0
    import pandas as pd

    table = pd.read_csv(plan, dtype=str).fillna("")
    assert len(table) == 4
    table["pay"] = ["yes", "yes", "yes", "reject"]
    table["bonus_usd"] = ["0.25", "0.25", "0.25", ""]
    table["message"] = "Thank you"
    table.to_csv(plan, index=False)
    return plan


def all_assignments(case: Case) -> list[dict]:
    """Every assignment of the account."""
    client = case.client()
    return [a for hit in client.list_hits()["HITs"] for a in
            client.list_assignments_for_hit(HITId=hit["HITId"])["Assignments"]]  # fmt: skip


def compare(case: Case, held: int, spent: int) -> None:
    """The ledger says what the server's account says, to the cent, and nothing in it is open."""
    balance = case.client().get_account_balance()
    on_hold, available = round(float(balance["OnHoldBalance"]) * 100), round(float(balance["AvailableBalance"]) * 100)
    with connect(case.root / "votes.sqlite") as store:
        account = ledger.account(store, "live")
        rows = ledger.entries(store, "live")
    assert all(row["outcome"] == "done" for row in rows), [tuple(row) for row in rows]
    assert (account.paid, account.promised) == (spent, held), (account, spent, held)
    assert on_hold == held and available == 1_000_000 - spent - held, balance


SCENARIOS = {"publish": publish, "extend": extend, "pay": pay, "bonus": bonus}


def main(scenario: str, endpoint: str, panel: str, folder: str, stride: str = "1") -> None:
    """Walk, and print how many points there were."""
    template = small_study(Path(folder) / "template", photographs=1)
    values = template.settings.model_dump(exclude_none=True)
    values["hits"] |= {"sessions": 6, "batch": 2, "reward_usd": "0.50", "url": "http://127.0.0.1:1/"}
    values["hits"] |= {"spending_cap_usd": "40.00"}
    write_settings(parse_settings(values, "kill_walk"), template.settings_path)
    Study(template.root)
    point, killed = 1, -9
    while killed == -9:
        root = Path(folder) / f"{scenario}{point}"
        shutil.copytree(template.root, root)
        case = Case(endpoint, Path(panel), root, f"AKIA{scenario.upper()}{point:04d}")
        command, check = SCENARIOS[scenario](case)
        killed = case.run(*command, kill_before=point)
        assert killed in (-9, 0), f"{scenario} {point}: status {killed}"
        if killed == -9:
            assert case.run(*command) == 0, f"{scenario} {point}: not continued"
        try:
            check()
        except (AssertionError, sqlite3.Error) as error:
            raise AssertionError(f"{scenario}, killed before effect {point}: {error}") from error
        shutil.rmtree(root)
        point += int(stride)
    print(json.dumps({"points": point - int(stride)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
