"""Personal links and Prolific: who came, what the export says, and each payment recorded and listed once."""

import csv
import re

import pytest
from submitted_work import SESSION, add_session

from mturk import recruit
from mturk.requester import ledger
from mturk.reviewing.sheet import of_text
from study.command import run
from study.errors import InputError
from study.recruits import Arrival, bind, close, read_arrival, turn_away
from study.tokens import secret_key
from study.votes import connect, transaction

URL = "https://lab.example/study/"
RECRUITING = {
    "reward_usd": "1.50",
    "prolific_completed": "CDONE",
    "prolific_screened_out": "CSCREEN",
    "prolific_full": "CFULL",
}


def pid(number: int) -> str:
    return f"{number:024x}"


@pytest.fixture
def study(make_study):
    return make_study(session=SESSION, recruiting=RECRUITING)


def come(study, number, outcome="finished", channel="prolific", **session):
    """A person arrives, and ends as `outcome` says: (task, person)."""
    task, person = (pid(1000 + number), pid(number)) if channel == "prolific" else 2 * (f"CODE{number}",)
    arrival = Arrival(channel, "", person, task, "")
    observer = f"{channel}{number}"
    if outcome in ("again", "full"):
        with connect(study.votes_path) as store, transaction(store):
            turn_away(store, arrival, outcome)
        return task, person
    add_session(study, observer, **session)
    with connect(study.votes_path) as store, transaction(store):
        bind(store, arrival, observer)
        if outcome:
            close(store, observer, outcome)
    return task, person


def export(study, rows):
    path = study.root / "export.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Submission id", "Participant id", "Status", "Started at", "Completion code", "Age"])
        writer.writerows([task, person, status, "2026-05-01", code, "30"] for task, person, status, code in rows)
    return path


def collect(study, rows):
    recruit.main(["collect", str(study.root), "--submissions", str(export(study, rows))])


def edit(study, channel, edits):
    """A new plan with these cells changed, by task."""
    path = study.root / f"review-{channel}.csv"
    recruit.main(["review", str(study.root), "--channel", channel, "--force"])
    rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | edits.get(of_text(row["assignment"]), {}) for row in rows)
    return {of_text(row["assignment"]): (row["pay"], row["use"], row["reason"]) for row in rows}


def paid(study, channel="prolific", *options):
    recruit.main(["paid", str(study.root), "--channel", channel, *options])


def entries(study, channel):
    with connect(study.votes_path) as store:
        rows = store.execute("SELECT * FROM ledger WHERE channel = ? ORDER BY rowid", [channel]).fetchall()
        assert all(row["outcome"] == "done" and row["market"] == "" and row["fee_cents"] == 0 for row in rows)
        return [(row["action"], row["subject"], row["person"], row["reward_cents"]) for row in rows]


def test_links_are_the_same_every_time_and_more_people_get_more(study, capsys):
    def links(people):
        recruit.main(["links", str(study.root), "--people", str(people), "--url", URL])
        said = capsys.readouterr()
        assert "open_link = false" in said.err
        return said.out.splitlines()

    three = links(3)
    assert links(5)[:3] == three and len(set(links(5))) == 5
    for link in three:
        code = re.fullmatch(re.escape(URL) + r"\?code=([0-9A-Z-]{19})", link)[1]
        arrival = read_arrival({"code": code}, secret_key(study))
        assert (arrival.channel, arrival.person) == ("link", code)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("lab.example", "must be the voting page's address"),
        ("ftp://lab.example/", "must be the voting page's address"),
        ("https://lab.example/ x", "must be the voting page's address"),
        ("https://lab.example/#top", "leave out what follows the #"),
        ("https://lab.example/?code=1", "leave code out"),
        ("https://lab.example/?STUDY_ID=", "leave STUDY_ID out"),
    ],
)
def test_an_address_that_cannot_be_the_pages_is_refused(study, url, said):
    for verb in (["links", "--people", "1"], ["prolific"]):
        with pytest.raises(InputError, match=re.escape(said)):
            recruit.main([verb[0], str(study.root), *verb[1:], "--url", url])


def test_the_guide_has_the_exact_address_the_codes_and_the_studys_numbers(make_study, study, capsys):
    come(study, 1)
    recruit.main(["prolific", str(study.root), "--url", f"{URL}?lab=1"])
    said = capsys.readouterr().out
    assert (
        f"   {URL}?lab=1&PROLIFIC_PID={{{{%PROLIFIC_PID%}}}}&STUDY_ID={{{{%STUDY_ID%}}}}"
        "&SESSION_ID={{%SESSION_ID%}}\n" in said
    )
    assert "finished sessions (manually review): CDONE" in said and ": CFULL" in said
    # 21 test comparisons of 1,000 votes each in sessions of 6; 6 + 2 + 1 + 1 questions
    assert "3,500 sessions give 21 comparisons 1,000 votes each (10 questions a session)" in said
    assert "Reward: $1.50" in said
    recruit.main(["prolific", str(make_study("bare").root), "--url", URL])
    said = capsys.readouterr().out
    assert "nobody has finished a session yet" in said and "MISSING: copy the code" in said


def test_the_guide_tells_the_median_time_and_what_that_pays_an_hour(study, capsys):
    for number, minutes in enumerate([10, 15, 60]):
        come(study, number)
        with connect(study.votes_path) as store:
            store.execute(
                "UPDATE observers SET joined_at = '2026-05-01T12:00:00.000Z' WHERE id = ?", [f"prolific{number}"]
            )
            store.execute(
                "UPDATE votes SET received_at = ? WHERE trial IN (SELECT id FROM trials WHERE observer = ?)",
                [f"2026-05-01T{12 + minutes // 60}:{minutes % 60:02d}:00.000Z", f"prolific{number}"],
            )
    recruit.main(["prolific", str(study.root), "--url", URL])
    said = capsys.readouterr().out
    assert "Time: 15 minutes (median of the finished sessions: 15.0)" in said
    assert "That is $6.00 an hour" in said and "Too little" in said


def test_status_counts_how_everybody_ended(study, capsys):
    recruit.main(["status", str(study.root)])
    assert "nobody has come yet" in capsys.readouterr().out
    for number, outcome in enumerate(["finished", "finished", "screened out", "again", "full", None]):
        come(study, number, outcome)
    come(study, 7, channel="link")
    add_session(study, "by the bare address")
    recruit.main(["status", str(study.root)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[-1].strip() == "not finished"
    assert [line.split() for line in lines[1:3]] == [
        ["link", "1", "1", "1", "0", "0", "0", "0"],
        ["prolific", "6", "6", "2", "1", "1", "1", "1"],
    ]
    assert lines[3] == "by the page's bare address: 1"


def test_what_does_not_fit_between_prolific_and_the_page_is_named(study, capsys):
    good, wrong_code, nocode = come(study, 1), come(study, 2), come(study, 3)
    screened, full, unfinished = come(study, 4, "screened out"), come(study, 5, "full"), come(study, 6, None)
    returned, gone, unlisted = come(study, 7), come(study, 8, None), come(study, 9)
    stranger, swapped = (pid(2000), pid(50)), (good[0].upper(), pid(51))
    rows = [
        (*good, "AWAITING REVIEW", "CDONE"),
        (*wrong_code, "AWAITING REVIEW", "=1+1"),
        (*nocode, "AWAITING REVIEW", "NOCODE"),
        (*screened, "AWAITING REVIEW", "CSCREEN"),
        (*full, "AWAITING REVIEW", "CFULL"),
        (*unfinished, "AWAITING REVIEW", "CDONE"),
        (*returned, "RETURNED", ""),
        (*gone, "TIMED-OUT", ""),
        (*stranger, "AWAITING REVIEW", "CDONE"),
        (pid(2001), pid(52), "ACTIVE", ""),
    ]
    collect(study, rows)
    said = capsys.readouterr().out
    assert good[0] not in said and gone[0] not in said and pid(2001) not in said
    for task, problem in [
        (wrong_code[0], "typed the code ?1?1, but has a finished session"),
        (nocode[0], "typed the code NOCODE"),
        (screened[0], "screened out; ask on Prolific"),
        (full[0], "came when no place was left; ask"),
        (unfinished[0], "its session is not finished"),
        (returned[0], "has a finished session, but gave the place back"),
        (stranger[0], "never came to the page"),
    ]:
        assert f"submission {task}: {problem}" in said
    assert "1 ACTIVE, 7 AWAITING REVIEW, 1 RETURNED, 1 TIMED-OUT" in said
    assert "1 sessions of the page are not in the file" in said and unlisted[0] not in said
    collect(study, [(*swapped, "AWAITING REVIEW", "CDONE")])
    assert "came to the page under another participant id" in capsys.readouterr().out
    plan = edit(study, "prolific", {})
    assert plan[good[0]] == ("yes", "yes", "") and gone[0] not in plan and pid(2001) not in plan
    assert {plan[name][:2] for name in (wrong_code[0], screened[0], full[0], stranger[0])} == {("wait", "no")}


def test_an_export_that_is_none_is_refused(study):
    name = come(study, 1)
    path = export(study, [(*name, "APPROVED", ""), (*name, "APPROVED", "")])
    with pytest.raises(InputError, match=f"line 3: submission {name[0]} stands in line 2 already"):
        recruit.main(["collect", str(study.root), "--submissions", str(path)])
    path.write_text("Submission id,Status\n")
    with pytest.raises(InputError, match="no column 'participant id'"):
        recruit.main(["collect", str(study.root), "--submissions", str(path)])
    assert not (study.root / "submissions-prolific.csv").exists()


def test_payments_on_prolific_are_recorded_and_listed_once(study, capsys):
    good, careless, waits = come(study, 1), come(study, 2, sentinels_right=False), come(study, 3, None)
    collect(study, [(*name, "AWAITING REVIEW", "CDONE") for name in (good, careless, waits)])
    assert edit(study, "prolific", {good[0]: {"bonus_usd": "0.25"}}) == {
        good[0]: ("yes", "yes", ""),
        careless[0]: ("yes", "no", "0 of 2 sentinels right"),
        waits[0]: ("wait", "no", "its session is not finished"),
    }
    paid(study)
    once = [("approve", *good, 150), ("bonus", *good, 25), ("approve", *careless, 150)]
    assert entries(study, "prolific") == once
    assert (study.root / "prolific-approve-1.txt").read_text() == f"{good[1]}\n{careless[1]}\n"
    assert (study.root / "prolific-bonus-1.csv").read_text() == f"{good[1]},0.25\n"
    with connect(study.votes_path) as store:
        rows = store.execute("SELECT DISTINCT observer, rejected FROM votes JOIN trials ON trials.id = trial")
        assert dict(map(tuple, rows))["prolific2"] == "review: 0 of 2 sentinels right"
        assert ledger.account(store, "") == ledger.Account(0, 0)  # MTurk's cap is not theirs
    paid(study)
    assert entries(study, "prolific") == once
    assert "recorded: 0 payments of $0.00, 0 bonuses of $0.00, 0 rejections" in capsys.readouterr().out
    assert len(list(study.root.glob("prolific-*"))) == 2
    late = come(study, 4)
    collect(study, [(*late, "AWAITING REVIEW", "CDONE")])
    assert set(edit(study, "prolific", {})) == {waits[0], late[0]}  # the others are recorded
    paid(study)
    assert (study.root / "prolific-approve-2.txt").read_text() == f"{late[1]}\n"
    assert entries(study, "prolific") == [*once, ("approve", *late, 150)]


@pytest.mark.parametrize("bonus", ["0.30", ""])
def test_a_run_that_is_killed_at_its_lists_leaves_nothing_and_is_continued(study, monkeypatch, bonus):
    """Killed when the first list is written, or after both; then the same plan, or one that was edited since."""
    from mturk.recruiting import payments

    name = come(study, 1)
    collect(study, [(*name, "AWAITING REVIEW", "CDONE")])
    edit(study, "prolific", {name[0]: {"bonus_usd": "0.25"}})
    written = payments.write_text
    for last in ("approve", "bonus"):

        def killed(path, text, last=last):
            written(path, text)
            if last in path.name:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(payments, "write_text", killed)
            paid(study)
        assert entries(study, "prolific") == []
    edit(study, "prolific", {name[0]: {"bonus_usd": bonus}})
    paid(study)
    lists = {path.name: path.read_text() for path in study.root.glob("prolific-*")}
    assert lists.pop("prolific-approve-1.txt") == f"{name[1]}\n"
    assert lists == ({"prolific-bonus-1.csv": f"{name[1]},{bonus}\n"} if bonus else {})
    assert len(entries(study, "prolific")) == len(lists) + 1


def test_a_list_that_was_pasted_and_deleted_is_not_made_again(study, capsys):
    name = come(study, 1)
    collect(study, [(*name, "AWAITING REVIEW", "CDONE")])
    edit(study, "prolific", {name[0]: {"bonus_usd": "0.25"}})
    paid(study)
    for path in study.root.glob("prolific-*"):
        path.unlink()
    capsys.readouterr()
    paid(study, "prolific", "--label", " 1 ")  # the same label
    assert "paste" not in capsys.readouterr().out and not list(study.root.glob("prolific-*"))
    with pytest.raises(InputError, match="--label must not be empty"):
        paid(study, "prolific", "--label", " ")


def test_a_record_is_not_changed_by_another_plan(study):
    name = come(study, 1, channel="link")
    edit(study, "link", {name[0]: {"bonus_usd": "1.00"}})
    paid(study, "link")
    assert entries(study, "link") == [("approve", *name, 150), ("bonus", *name, 100)]
    plan = study.root / "review-link.csv"
    text = plan.read_text()
    plan.write_text(text.replace("1.00", "2.00"))
    with pytest.raises(InputError, match=r"line 2: the bonus is \$2\.00 here, but \$1\.00 are recorded"):
        paid(study, "link")
    plan.write_text(text.replace(",yes,yes,", ",reject,no,").replace("1.00,", "0,no"))
    with pytest.raises(InputError, match="is recorded as paid; write pay as it is recorded"):
        paid(study, "link")
    paid_again = text
    plan.write_text(paid_again)
    paid(study, "link", "--label", "2")
    assert len(entries(study, "link")) == 3
    assert not list(study.root.glob("prolific-*"))


def test_two_submissions_with_one_session_are_one_session(study):
    first = come(study, 1)
    second = pid(3000), first[1]
    with connect(study.votes_path) as store, transaction(store):
        bind(store, Arrival("prolific", "", second[1], second[0], ""), "prolific1")
        store.execute("UPDATE recruits SET outcome = 'again' WHERE task = ?", [second[0]])
    collect(study, [(*name, "AWAITING REVIEW", "CDONE") for name in (first, second)])
    plan = edit(study, "prolific", {second[0]: {"pay": "yes"}})
    assert plan[first[0]] == ("yes", "yes", "") and plan[second[0]][0] == "wait"
    assert plan[second[0]][2].startswith("took part before")
    paid(study)
    with connect(study.votes_path) as store:
        assert [*store.execute("SELECT DISTINCT rejected FROM votes").fetchone()] == [None]


def test_links_pay_who_finished_and_use_one_session_a_person(study, capsys):
    come(study, 1, channel="link")
    come(study, 2, None, channel="link")
    assert edit(study, "link", {}) == {"CODE1": ("yes", "yes", "")}
    assert "to pay:  1 of 1: $1.50" in capsys.readouterr().out
    assert run(recruit.main, ["review", str(study.root), "--channel", "link"]) == 2
    assert "exists, perhaps edited" in capsys.readouterr().err
    assert run(recruit.main, []) == 2
    assert "say what to do" in capsys.readouterr().err
