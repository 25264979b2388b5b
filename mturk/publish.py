"""`eyetune mturk publish DIR`: create the study's HITs, each exactly once. Without --live nothing costs money.

What is missing until hits.sessions places are published is created. Each HIT is written into the ledger before MTurk is
asked for it and settled after; a run that was ended anywhere is continued by the same command.
"""

import argparse
import http.client
import json
import re
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tqdm import tqdm

from mturk.cost import describe_sizes
from mturk.questions.external import external_question
from mturk.questions.form import html_question, session_html
from mturk.questions.sessions import plan_form_session, publish_session
from mturk.requester import ledger
from mturk.requester.client import Refused, Requester, add_market_options, open_market
from mturk.requester.hits import all_hits, create_parameters, record_hit, unit_cents
from mturk.requester.lock import paying
from mturk.requester.money import confirm, counted
from mturk.requester.took_part import took_part_type
from study.errors import InputError
from study.fees import dollars, hit_sizes
from study.folder import Study
from study.tokens import secret_key
from study.votes import connect, transaction

EXISTS = "AWS.MechanicalTurk.HitAlreadyExists"
PAGE_WAIT = 15  # seconds for the voting page to answer


def main(argv: list[str] | None = None) -> int | None:
    """Publish what is missing."""
    parser = argparse.ArgumentParser(prog="eyetune mturk publish", description=__doc__)
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    parser.add_argument(
        "--unchecked", action="store_true", help="do not ask first whether the voting page answers at hits.url"
    )
    add_market_options(parser)
    options = parser.parse_args(argv)

    study = Study(options.study)
    with paying(study), closing(open_market(options)) as requester:
        publish(study, requester, check_page=not options.unchecked)
    return 0


def publish(study: Study, requester: Requester, check_page: bool = True) -> None:
    """Create the HITs that are missing, those first whose creation was interrupted."""
    hits, market = study.settings.hits, requester.market
    with connect(study.votes_path) as store:
        interrupted = ledger.unsettled(store, market, "create")
        places = sum(hit["places"] for hit in all_hits(store, market, deleted=True))
        places += sum(entry["count"] for entry in [*interrupted, *ledger.unsettled(store, market, "extend")])
        missing = max(0, hits.sessions - places)
        sizes = hit_sizes(hits.question, missing, hits.reward_cents, hits.workers.masters, hits.batch)
        cents = sum(size * sum(unit_cents(hits, size)) for size in sizes)
        committed = ledger.account(store, market).committed
        if not interrupted and not sizes:
            print(f"all {hits.sessions:,} sessions are published ({market}); raise hits.sessions for more")
            return
        if committed + cents > hits.spending_cap_cents:
            raise InputError(
                f"${dollars(committed)} are spent or promised already, and ${dollars(cents)} more would pass the cap of"
                f" ${dollars(hits.spending_cap_cents)}; raise hits.spending_cap_usd, or lower hits.sessions"
            )
        question = None
        if sizes and hits.question == "page":
            question = external_question(hits.url, hits.frame_height)
            if check_page:
                _check_page(hits.url)
        said = f"{counted(len(sizes), 'HIT')} for {counted(missing, 'session')} ({describe_sizes(sizes)})"
        lines = [f"{said} at ${hits.reward_usd} each"]
        if interrupted:
            waiting = sum(entry["reward_cents"] + entry["fee_cents"] for entry in interrupted)
            cents += waiting
            lines = [
                f"{counted(len(interrupted), 'HIT')} (${dollars(waiting)}) whose creation was interrupted",
                *lines[: len(sizes)],
            ]
        confirm(market, cents, lines)

        took_part = took_part_type(requester, study)
        progress = tqdm(total=len(interrupted) + len(sizes), unit="HIT", desc="publishing")
        with progress:
            known = _annotated(requester)
            for entry in interrupted:
                _create(store, requester, study, entry, known.get(entry["token"]))
                progress.update()
            for size in sizes:
                entry = _write(store, study, market, size, question, took_part, known)
                _create(store, requester, study, entry, None)
                progress.update()
        spent = ledger.account(store, market)
    print(f"{counted(len(interrupted) + len(sizes), 'HIT')} published ({market}): ${dollars(spent.promised)} promised,"
          f" ${dollars(spent.paid)} paid")  # fmt: skip
    if market == "local":
        print("workers find them on the site of: eyetune mturk serve")


def _write(
    store: sqlite3.Connection,
    study: Study,
    market: str,
    size: int,
    question: str | None,
    took_part: str | None,
    known: dict[str, dict[str, Any]],
) -> sqlite3.Row:
    """The ledger's new entry for one more HIT; a form's (without `question`) has a new session's trials.

    Raises InputError where MTurk has that HIT already (`known`, by token): then this ledger is not the only one.
    """
    hits = study.settings.hits
    reward, fee = unit_cents(hits, size)
    observer = plan_form_session(study) if question is None else None
    with transaction(store):
        number = len(ledger.entries(store, market, "create"))
        name = ledger.token(secret_key(study), market, "create", number)
        if name in known:
            raise InputError(
                f"{study.root} is a copy, or an older backup, of a study that has published more: MTurk has HIT"
                f" {known[name]['HITId']}, which this ledger does not know. Nothing more was published; go on in the"
                " folder that published it, or, to make this one a study of its own, delete its secret.key"
            )
        parameters = create_parameters(hits, market, size, name, took_part)
        if question is not None:
            parameters["Question"] = question
        request = {"parameters": parameters, "question": hits.question, "observer": observer}
        entry = ledger.Entry(name, market, "create", str(number), "", size, size * reward, size * fee, request)
        ledger.write(store, [entry], hits.spending_cap_cents)
        row: sqlite3.Row = store.execute("SELECT * FROM ledger WHERE token = ?", [name]).fetchone()
    return row


def _create(
    store: sqlite3.Connection, requester: Requester, study: Study, entry: sqlite3.Row, known: dict[str, Any] | None
) -> None:
    """Create the entry's HIT, or find the one that was created for it (`known`), and settle the entry."""
    request = json.loads(entry["request"])
    parameters = request["parameters"]
    if known is None and request["question"] == "form":  # its images' addresses may hold for days only: made just now
        script = publish_session(study, request["observer"])
        html = session_html(study, script, request["observer"])
        parameters["Question"] = html_question(html, study.settings.hits.frame_height)
    try:
        hit = known or requester.call("CreateHIT", **parameters)["HIT"]
    except Refused as refusal:
        # Perhaps an earlier try of this call got through, whose answer was lost. Where MTurk will not say, the entry
        # stays open.
        found = _existing(requester, entry["token"], refusal)
        if found is None and refusal.code == EXISTS:
            raise InputError(
                f"MTurk says that the HIT of token {entry['token']} exists, but does not show it; try again later"
            ) from None
        if found is None:
            ledger.settle(store, entry["token"], "refused", {"code": refusal.code, "message": refusal.message})
            raise
        hit = found
    ledger.settle(store, entry["token"], "done", {"HITId": hit["HITId"]}, lambda c: record_hit(c, entry, hit))


def _existing(requester: Requester, token: str, refusal: Refused) -> dict[str, Any] | None:
    """The HIT that exists for this token though its creation was refused; None where there is none."""
    for identity in re.findall(r"\b[A-Z0-9]{10,64}\b", refusal.message) if refusal.code == EXISTS else []:
        hit: dict[str, Any] = requester.call("GetHIT", HITId=identity)["HIT"]
        if hit.get("RequesterAnnotation") == token:
            return hit
    return _annotated(requester).get(token)


def _annotated(requester: Requester) -> dict[str, dict[str, Any]]:
    """Every HIT of the account by its annotation: known for as long as it lives, not for a token's 24 hours only."""
    return {hit.get("RequesterAnnotation", ""): hit for hit in requester.pages("ListHITs", "HITs")}


def _check_page(url: str) -> None:
    """Raise InputError where no voting page answers at `url`: workers would meet an error, and still be paid for it."""
    preview = f"{url}{'&' if '?' in url else '?'}{urlencode({'assignmentId': 'ASSIGNMENT_ID_NOT_AVAILABLE'})}"
    try:
        with urllib.request.urlopen(preview, timeout=PAGE_WAIT) as response:
            response.read(1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(
            f"hits.url = {url!r} does not answer ({error}); start eyetune serve and what makes it public first, or say"
            " --unchecked where only this machine cannot reach it"
        ) from None
