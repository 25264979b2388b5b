"""A study from publishing to export with real parts: boto3, the local MTurk, the voting page, workers in Chromium."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import parse_qsl

import boto3
import pandas as pd
import pytest
from mturk_servers import Panel, panel
from test_browser import LEFT, RIGHT, chromium  # noqa: F401

import eyetune
from mturk.requester import ledger
from study.folder import Study
from study.votes import connect
from webapp.app import create_app
from webapp.serve import serving

WAIT = 20_000  # ms


@pytest.fixture
def running(tmp_path) -> Iterator[Panel]:
    with panel(tmp_path / "panel", "--balance", "100.00") as found:
        yield found


def test_three_workers_vote_and_are_paid_to_the_cent(chromium, make_study, running, capsys):  # noqa: F811
    """One reloads, one returns the HIT and takes it again, one submits twice; the accounts agree at the end."""
    capsys.readouterr()
    with ExitStack() as stack:
        study = make_study(hits={"sessions": 3, "reward_usd": "0.50"})
        url = stack.enter_context(serving(create_app(study), study))
        text = study.settings_path.read_text().replace('url = ""', f'url = "{url}"', 1)
        study.settings_path.write_text(text)
        study = Study(study.root)

        def mturk(verb: str, *options: str) -> str:
            assert eyetune.main(["mturk", verb, str(study.root), "--endpoint", running.api, *options]) in (0, None)
            return capsys.readouterr().out

        assert "1 HIT for 3 sessions (1 x 3) at $0.50 each" in mturk("publish")
        assert "all 3 sessions are published" in mturk("publish")

        eyetune.main(["mturk", "invite", str(running.folder), "--url", running.site, "--worker", "Ana", "Ben", "Cleo"])
        links = dict(re.findall(r"(\w+): (http\S+)", capsys.readouterr().out))

        def come(name: str):
            context = chromium.new_context(viewport={"width": 1280, "height": 900})
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(WAIT)
            page.goto(links[name])
            return page

        # Ana looks at the preview, takes the HIT, reloads in the middle, and goes on where she was.
        ana = come("Ana")
        ana.get_by_role("link", name="Preview").click()
        assert "Accept the HIT to begin" in question(ana).locator("body").inner_text()
        ana.get_by_role("button", name="Accept").click()
        agree(ana)
        vote(ana, 3)
        ana.reload()
        agree(ana)
        vote(ana)
        submitted(ana)

        # Ben gives the HIT back in the middle. Cleo gets his assignment's id, and a session of her own.
        ben = come("Ben")
        ben.get_by_role("button", name="Accept").click()
        agree(ben)
        vote(ben, 2)
        returned = ben.url
        ben.get_by_role("button", name="Return").click()
        cleo = come("Cleo")
        cleo.get_by_role("button", name="Accept").click()
        assert cleo.url == returned
        agree(cleo)
        sent = []
        cleo.on("request", lambda request: sent.append(request) if "externalSubmit" in request.url else None)
        assert next_trial(cleo, "").startswith("Practice")
        vote(cleo)
        submitted(cleo)
        # Her answers are sent twice: the second time is refused and changes nothing.
        again = cleo.request.post(sent[0].url, form=dict(parse_qsl(sent[0].post_data)))
        assert again.status == 409 and "submitted" in again.text()

        # Ben takes a place again, with another assignment, and goes on in the session that he left.
        ben.get_by_role("button", name="Accept").click()
        assert ben.url != returned
        agree(ben)
        assert not next_trial(ben, "").startswith("Practice")
        vote(ben)
        submitted(ben)

        # A fourth session does not exist: the HIT is full, and Ana's is over.
        ana.goto(running.site)
        assert ana.get_by_role("button", name="Accept").count() == 0

        said = mturk("collect")
        assert "3 submitted, 3 of them new" in said and "3 to review" in said
        assert "3 submitted, 0 of them new" in mturk("collect")

        plan = study.root / "plan.csv"
        assert "3" in mturk_offline("review", study, "--out", str(plan), capsys=capsys)
        table = pd.read_csv(plan, dtype=str).fillna("")
        assert list(table["pay"]) == ["yes"] * 3 and "reject" not in set(table["pay"])
        best = table["worker"][0]
        table.loc[table["worker"] == best, "bonus_usd"] = "0.13"
        table.loc[table["worker"] == best, "message"] = "Thank you for looking so carefully"
        table.to_csv(plan, index=False)

        assert "$1.80" in mturk("pay", "--plan", str(plan))
        mturk("bonus", "--plan", str(plan))
        assert "$0.00" not in mturk("bonus", "--plan", str(plan)).replace("total with fees: $0.00", "")  # once only
        mturk("expire")
        status = mturk("status")
        assert "paid $1.96, promised $0.00" in status

        with connect(study.votes_path) as store:
            account = ledger.account(store, "local")
            entries = ledger.entries(store, "local")
            people = store.execute("SELECT person, task, observer FROM recruits").fetchall()
        # By hand: 3 rewards of 0.50 with a fee of 0.10, and a bonus of 0.13 with a fee of 0.03.
        assert (account.paid, account.promised) == (3 * 60 + 16, 0)
        assert sorted(row["action"] for row in entries) == ["approve"] * 3 + ["bonus", "create"]
        own = boto3.client("mturk", region_name="us-east-1", endpoint_url=running.api, aws_access_key_id="EYETUNE",
                           aws_secret_access_key="x")  # fmt: skip
        balance = own.get_account_balance()
        own.close()
        assert (balance["AvailableBalance"], balance["OnHoldBalance"]) == ("98.04", "0.00")

        # Ben had two assignments and one session; the first one's id became Cleo's.
        assert len(people) == 4 and len({row["task"] for row in people}) == 3
        assert len({row["person"] for row in people}) == len({row["observer"] for row in people}) == 3
        ana.goto(f"{running.site}earnings")
        assert "0.50" in ana.locator("main").inner_text()

        assert "1 of 1 HITs deleted" in mturk("delete")
        eyetune.main(["votes", str(study.root), "--out", str(study.root / "votes.csv")])
        votes = pd.read_csv(study.root / "votes.csv")
        session = study.settings.session
        assert len(votes) == 3 * (session.trials + session.sentinels + session.repeats + session.practice)
        assert not votes["simulated"].any() and votes["observer"].nunique() == 3


def mturk_offline(verb: str, study: Study, *options: str, capsys) -> str:
    """What a verb that asks no server says."""
    assert eyetune.main(["mturk", verb, str(study.root), *options]) in (0, None)
    return capsys.readouterr().out


def question(page):
    """The voting page in the frame that the worker site shows."""
    return page.frame_locator("#question")


def agree(page) -> None:
    """Consent and instructions, where they are shown; a session that goes on shows neither twice."""
    frame = question(page)
    frame.locator("form button.primary:visible, #start:visible, #choose-left:enabled").first.wait_for()
    if frame.get_by_role("button", name="I agree").count():
        frame.get_by_role("button", name="I agree").click()
        frame.locator("#start:visible, #choose-left:enabled").first.wait_for()
    if frame.locator("#start:visible").count():
        frame.locator("#start").click()


def vote(page, number: int = 1000) -> None:
    """Answer so many trials, left and right in turn, or all that are left; the page then submits by itself."""
    before = ""
    for count in range(number):
        if not (before := next_trial(page, before)):
            return
        question(page).locator(LEFT if count % 2 else RIGHT).click()


def next_trial(page, before: str) -> str:
    """What the progress says when another trial than `before` can be answered; nothing when the session is over."""
    frame = question(page)
    for _ in range(WAIT // 50):
        if page.get_by_text("Submitted. Thank you!").count() or frame.locator("#hand-in").count():
            return ""
        if frame.locator("#continue:visible").count():
            frame.locator("#continue").click()
        elif frame.locator(LEFT).count() and (now := frame.locator("#progress").inner_text()) != before:
            return now
        page.wait_for_timeout(50)
    raise AssertionError(f"nothing follows {before!r}")


def submitted(page) -> None:
    """Wait until the worker site says that it has the work."""
    page.get_by_text("Submitted. Thank you!").wait_for()
