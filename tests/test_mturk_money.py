"""Money: MTurk's fees, the ledger's arithmetic, the cap, and what is checked before a call."""

import errno
import hashlib
import io
import json
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mturk.cost import main as cost
from mturk.requester import ledger
from mturk.requester.hits import requirements
from mturk.requester.money import confirm
from mturk.service_model import model, problems
from study import fees
from study.errors import InputError
from study.settings import parse_settings
from study.votes import TABLES, connect, transaction


@pytest.mark.parametrize(
    ("reward", "assignments", "masters", "fee"),
    [
        (5, 10, False, 2),
        (13, 9, False, 3),
        (13, 1, False, 3),
        (100, 10, True, 45),
        (1, 1, False, 1),  # at least a cent
        (1, 10, False, 1),
        (100, 9, False, 20),
        (100, 10, False, 40),
        (100, 9, True, 25),
        (50, 9, True, 13),  # 12.5, half up
    ],
)
def test_the_fee_rows_that_are_known(reward, assignments, masters, fee):
    assert fees.fee_cents(reward, assignments, masters) == fee


def test_a_hit_of_ten_masters_at_a_dollar_costs_14_dollars_50():
    assert fees.dollars(fees.hit_cents(100, 10, masters=True)) == "14.50"


@given(st.integers(1, 10**7), st.integers(1, 500), st.booleans())
def test_fees_are_the_exact_percentage_rounded_half_up(reward, assignments, masters):
    from decimal import ROUND_HALF_UP, Decimal

    percent = 20 + (20 if assignments >= 10 else 0) + (5 if masters else 0)
    exact = (Decimal(reward) * percent / 100).quantize(Decimal(1), ROUND_HALF_UP)
    assert fees.fee_cents(reward, assignments, masters) == max(1, int(exact))


@given(st.integers(0, 300), st.integers(1, 5000), st.booleans(), st.integers(0, 40))
def test_batches_hold_every_place_and_never_cost_more_than_one_hit(places, reward, masters, batch):
    sizes = fees.batches(places, reward, masters, batch)
    assert sum(sizes) == places and 0 not in sizes
    if batch:
        assert max(sizes, default=0) <= batch
    else:
        total = sum(fees.hit_cents(reward, size, masters) for size in sizes)
        assert total <= fees.hit_cents(reward, places, masters)
        if len(sizes) > 1:
            assert max(sizes) == 9 and total < fees.hit_cents(reward, places, masters)


@given(st.integers(0, 10**9 - 1))
def test_dollars_and_cents_are_inverse(amount):
    assert fees.cents(fees.dollars(amount)) == amount


@pytest.mark.parametrize("text", ["", "1.234", "-1", "1,5", "1e3", ".5", "12345678", "1.", "١.00"])
def test_an_amount_that_is_none_is_refused(text):
    with pytest.raises(ValueError):
        fees.cents(text)


def entry(number: int, cents: int = 100, fee: int = 20, action: str = "create", **changes) -> ledger.Entry:
    values = {"market": "local", "subject": str(number), "person": "", "count": 1, "request": {}} | changes
    return ledger.Entry(f"{action}-{number}", action=action, reward_cents=cents, fee_cents=fee, **values)


def write(store: sqlite3.Connection, entries: list[ledger.Entry], cap: int | None) -> None:
    store.execute("BEGIN IMMEDIATE")
    try:
        ledger.write(store, entries, cap)
        store.execute("COMMIT")
    except InputError:
        store.execute("ROLLBACK")
        raise


def add_hit(store: sqlite3.Connection, token: str, places: int, status: str = "open") -> None:
    store.execute(
        "INSERT INTO hits (market, id, token, question, reward_cents, fee_cents, places, created_at, expires_at,"
        " status) VALUES ('local', ?, ?, 'page', 100, 20, ?, '', '', ?)",
        [f"H{token}", token, places, status],
    )


def add_assignment(store: sqlite3.Connection, token: str, number: int, status: str) -> None:
    store.execute(
        "INSERT INTO assignments (market, id, worker, hit, status, answer, seen_at)"
        " VALUES ('local', ?, 'A1', ?, ?, '', '')",
        [f"T{token}{number}", f"H{token}", status],
    )


def test_the_cap_cannot_be_passed_by_a_cent(tmp_path):
    with connect(tmp_path / "votes.sqlite") as store:
        write(store, [entry(0), entry(1)], 240)
        with pytest.raises(InputError, match=r"to \$3\.60, above its cap of \$3\.59; nothing was sent"):
            write(store, [entry(2)], 359)
        assert len(ledger.entries(store, "local")) == 2
        write(store, [entry(2)], 360)
        assert ledger.account(store, "local").committed == 360
        assert ledger.account(store, "live").committed == 0


def test_an_entry_is_written_once_settled_once_and_refused_ones_can_be_tried_again(tmp_path):
    with connect(tmp_path / "votes.sqlite") as store:
        write(store, [entry(0)], None)
        write(store, [entry(0, cents=999)], None)  # the same token: stays as it was
        assert ledger.account(store, "local").promised == 120
        ledger.settle(store, "create-0", "refused", {"code": "x"})
        assert ledger.account(store, "local").committed == 0
        write(store, [entry(0, cents=200)], None)
        assert [row["reward_cents"] for row in ledger.unsettled(store, "local", "create")] == [200]
        recorded = []
        ledger.settle(store, "create-0", "done", {}, recorded.append)
        ledger.settle(store, "create-0", "done", {}, recorded.append)
        assert len(recorded) == 1


def test_places_are_promised_until_they_are_reviewed_or_can_no_longer_be_filled(tmp_path):
    """By hand: 3 places at 1.20; one approved (paid), one submitted; then the HIT expires with one unfilled."""
    with connect(tmp_path / "votes.sqlite") as store:
        write(store, [entry(0, 300, 60, count=3)], None)
        assert ledger.account(store, "local") == ledger.Account(paid=0, promised=360)
        ledger.settle(store, "create-0", "done", {}, lambda c: add_hit(c, "create-0", 3))
        assert ledger.account(store, "local") == ledger.Account(paid=0, promised=360)
        for number in (1, 2):
            add_assignment(store, "create-0", number, "Submitted")
        assert ledger.account(store, "local") == ledger.Account(paid=0, promised=360)
        write(store, [entry(1, action="approve")], None)
        assert ledger.account(store, "local") == ledger.Account(paid=0, promised=360)
        ledger.settle(store, "approve-1", "done", {})
        store.execute("UPDATE assignments SET status = 'Approved' WHERE id = 'Tcreate-01'")
        assert ledger.account(store, "local") == ledger.Account(paid=120, promised=240)
        store.execute("UPDATE hits SET status = 'expired'")
        assert ledger.account(store, "local") == ledger.Account(paid=120, promised=120)
        store.execute("UPDATE assignments SET status = 'Rejected' WHERE id = 'Tcreate-02'")
        assert ledger.account(store, "local") == ledger.Account(paid=120, promised=0)
        write(store, [entry(5, 50, 10, action="bonus")], None)
        assert ledger.account(store, "local") == ledger.Account(paid=120, promised=60)
        ledger.settle(store, "bonus-5", "done", {})
        assert ledger.account(store, "local") == ledger.Account(paid=180, promised=0)


def test_tokens_follow_from_study_market_action_and_subject_alone():
    name = ledger.token("key", "live", "bonus", "T1", "A1", "1")
    assert name == ledger.token("key", "live", "bonus", "T1", "A1", 1)
    others = {
        ledger.token("other", "live", "bonus", "T1", "A1", "1"),
        ledger.token("key", "sandbox", "bonus", "T1", "A1", "1"),
        ledger.token("key", "live", "approve", "T1", "A1", "1"),
        ledger.token("key", "live", "bonus", "T1", "A1", "2"),
        ledger.token("key", "live", "bonus", "T1A1", "", "1"),
    }
    assert name not in others and len(others) == 5
    assert len(name) <= 64 and set(name) <= set("0123456789abcdef")


def test_a_store_of_the_first_version_gains_the_ledger_and_keeps_its_votes(tmp_path):
    path = tmp_path / "votes.sqlite"
    store = sqlite3.connect(path)
    store.executescript(TABLES.split("CREATE TABLE IF NOT EXISTS recruits")[0] + "PRAGMA user_version = 1;")
    store.execute("INSERT INTO observers (id, joined_at) VALUES ('o', '2026-01-01T00:00:00.000Z')")
    store.commit()
    store.close()
    with connect(path) as store:
        assert store.execute("SELECT id FROM observers").fetchone()["id"] == "o"
        assert ledger.entries(store, "local") == []


def test_a_transaction_that_fills_the_disk_keeps_nothing_and_says_that_the_disk_is_full(tmp_path):
    """SQLite rolls back by itself then; a second ROLLBACK would be the error that is told."""
    path = tmp_path / "votes.sqlite"
    with connect(path) as store:
        write(store, [entry(0)], None)
    with pytest.raises(OSError) as error, connect(path) as store:
        store.execute("PRAGMA max_page_count = 60")  # the rest of the disk is another's
        with transaction(store):
            ledger.write(store, [entry(number, request={"note": "x" * 5000}) for number in range(1, 100)], None)
    assert error.value.errno == errno.ENOSPC
    with connect(path) as store:
        assert len(ledger.entries(store, "local")) == 1


def test_real_money_needs_exactly_the_amount_typed(monkeypatch, capsys):
    for typed in ("", "y\n", "yes\n", "12.6\n", "$12.60\n", "12.61\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        with pytest.raises(InputError, match="nothing was spent"):
            confirm("live", 1260, ["21 sessions"])
    monkeypatch.setattr("sys.stdin", io.StringIO("12.60\n"))
    confirm("live", 1260, ["21 sessions"])
    assert "21 sessions\ntotal with fees: $12.60, of real money\nType 12.60 to go on: " in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    confirm("local", 1260, [])
    assert "no money moves" in capsys.readouterr().out


def test_cost_says_what_nines_save(make_study, capsys):
    study = make_study(hits={"sessions": 20, "reward_usd": "1.00"})
    assert cost([str(study.root)]) == 0
    said = capsys.readouterr().out
    assert "20 in 3 HITs (2 x 9, 1 x 2)" in said and "total:      $24.00, of which $4.00 are fees" in said
    assert "as one HIT it would be $28.00" in said and "$20.00, which is less: publish would stop there" in said
    with pytest.raises(InputError, match="--sessions 0: must be from 1 to 10,000"):
        cost([str(study.root), "--sessions", "0"])


GOOD = {
    "Title": "t",
    "Description": "d",
    "Reward": "0.05",
    "LifetimeInSeconds": 30,
    "AssignmentDurationInSeconds": 30,
}
IDS = ["0" * 10] * 11


@pytest.mark.parametrize(
    ("member", "good", "bad"),
    [
        ("Title", "x" * 128, "x" * 129),
        ("Description", "x" * 2000, "x" * 2001),
        ("Keywords", "x" * 1000, "x" * 1001),
        ("RequesterAnnotation", "x" * 255, "x" * 256),
        ("Question", "x" * 65_535, "x" * 65_536),
        ("Question", "ä" * 32_767, "ä" * 32_768),  # bytes, not characters
        ("UniqueRequestToken", "x" * 64, "x" * 65),
        ("UniqueRequestToken", "x", ""),
        ("LifetimeInSeconds", 30, 29),
        ("LifetimeInSeconds", 31_536_000, 31_536_001),
        ("AssignmentDurationInSeconds", 30, 29),
        ("AssignmentDurationInSeconds", 31_536_000, 31_536_001),
        ("AutoApprovalDelayInSeconds", 0, -1),
        ("AutoApprovalDelayInSeconds", 2_592_000, 2_592_001),
        ("MaxAssignments", 1, 0),
        ("Reward", "1.25", "1.255"),
        ("Reward", "1", "-1"),
        ("QualificationRequirements", [{"QualificationTypeId": i, "Comparator": "Exists"} for i in IDS[:10]],
         [{"QualificationTypeId": i, "Comparator": "Exists"} for i in IDS]),
        ("QualificationRequirements", [{"QualificationTypeId": "1", "Comparator": "Exists"}],
         [{"QualificationTypeId": "1", "Comparator": "Is"}]),
    ],
)  # fmt: skip
def test_limits_of_create_hit_at_and_beyond_each_bound(member, good, bad):
    assert problems("CreateHIT", GOOD | {member: good}) == []
    found = problems("CreateHIT", GOOD | {member: bad})
    assert len(found) == 1 and found[0].startswith(member)


def test_unknown_missing_and_mistyped_members_are_named():
    assert problems("CreateHIT", GOOD | {"Foo": 1})[0].startswith("Foo is no member; there are: MaxAssignments")
    assert problems("CreateHIT", {k: v for k, v in GOOD.items() if k != "Title"}) == ["Title is missing"]
    assert problems("CreateHIT", GOOD | {"Title": 1}) == ["Title must be a text"]
    assert problems("CreateHIT", GOOD | {"MaxAssignments": True}) == ["MaxAssignments must be a whole number"]
    assert problems("ListHITs", {"MaxResults": 100}) == problems("ListHITs", {"MaxResults": 1}) == []
    assert problems("ListHITs", {"MaxResults": 101}) and problems("ListHITs", {"MaxResults": 0})
    assert problems("NotifyWorkers", {"Subject": "s", "MessageText": "m", "WorkerIds": ["A1"] * 101})
    assert problems("NotifyWorkers", {"Subject": "s", "MessageText": "m", "WorkerIds": ["a1"]})
    assert problems("NotifyWorkers", {"Subject": "s", "MessageText": "m", "WorkerIds": ["A1"] * 100}) == []


def test_the_service_model_has_the_39_operations():
    assert len(model().operation_names) == 39


def test_study_toml_becomes_requirements_and_eleven_are_too_many():
    def hits(**workers):
        return parse_settings({"name": "x", "hits": {"workers": workers}}, "x").hits

    chosen = hits(approval_percent=98, approved_hits=500, countries=["US", "CA-ON"], adult=True, masters=True)
    found = requirements(chosen, "live", "TOOKPART")
    assert found == [
        {"QualificationTypeId": "000000000000000000L0", "Comparator": "GreaterThanOrEqualTo", "IntegerValues": [98]},
        {"QualificationTypeId": "00000000000000000040", "Comparator": "GreaterThanOrEqualTo", "IntegerValues": [500]},
        {"QualificationTypeId": "00000000000000000071", "Comparator": "In",
         "LocaleValues": [{"Country": "US"}, {"Country": "CA", "Subdivision": "ON"}]},
        {"QualificationTypeId": "00000000000000000060", "Comparator": "EqualTo", "IntegerValues": [1]},
        {"QualificationTypeId": "2F1QJWKUDD8XADTFD2Q0G6UTO95ALH", "Comparator": "Exists"},
        {"QualificationTypeId": "TOOKPART", "Comparator": "DoesNotExist", "ActionsGuarded": "DiscoverPreviewAndAccept"},
    ]  # fmt: skip
    assert problems("CreateHIT", GOOD | {"QualificationRequirements": found}) == []
    assert requirements(chosen, "sandbox", None)[-1]["QualificationTypeId"] == "2ARFPLSP75KLA8M8DH1HTEQVJT3SY6"
    ten = [{"id": hashlib.sha256(bytes([n])).hexdigest()[:20].upper()} for n in range(10)]
    assert len(requirements(hits(qualifications=ten), "live", None)) == 10
    with pytest.raises(InputError, match="asks for 11 qualifications"):
        requirements(hits(qualifications=ten), "live", "TOOKPART")
    with pytest.raises(InputError, match="'usa' is no country like US"):
        hits(countries=["usa"])
    assert json.dumps(found)
