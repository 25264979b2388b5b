"""The plan of a review: what is proposed of submitted work, and that a plan survives spreadsheets and their owners."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st
from submitted_work import SESSION, add_assignment, add_hit, add_session

from mturk import review
from mturk.reviewing import sheet
from mturk.reviewing.evidence import marks, observer_quality
from mturk.reviewing.plan import COLUMNS, read_plan
from study.errors import InputError
from study.votes import connect


@pytest.fixture
def study(make_study):
    made = make_study(session=SESSION)
    add_hit(made, "local", "HIT1")
    return made


def plan_of(study, *arguments):
    review.main([str(study.root), *arguments])
    market = "sandbox" if "--sandbox" in arguments else "local"
    path = study.root / f"review-{market}.csv"
    return {row["assignment"]: row for row in csv.DictReader(path.read_text("utf-8-sig").splitlines())}


def proposals(study, *arguments):
    return {name: (row["pay"], row["use"], row["reason"]) for name, row in plan_of(study, *arguments).items()}


def test_good_work_is_paid_and_used_and_careless_work_is_paid_all_the_same(study):
    add_session(study, "good")
    add_session(study, "careless", sentinels_right=False)
    add_session(study, "hasty", seconds=0.2)
    add_session(study, "patient", seconds=0.4)
    for number, observer in enumerate(["good", "careless", "hasty", "patient"]):
        add_assignment(study, "local", "HIT1", f"AS{number}", f"A{number}", observer)
    assert proposals(study) == {
        "AS0": ("yes", "yes", ""),
        "AS1": ("yes", "no", "0 of 2 sentinels right"),
        "AS2": ("yes", "no", "half the answers within 0.20 s"),
        "AS3": ("yes", "yes", ""),
    }


def test_who_has_no_finished_session_of_a_person_waits_for_somebody_to_look(study):
    add_session(study, "halfway", answered=4)
    add_session(study, "nothing", answered=0)
    add_session(study, "robot", simulator='{"noise": 1}')
    add_session(study, "twice")
    add_assignment(study, "local", "HIT1", "AS0", "A0", None, "no proof of a finished session was submitted")
    add_assignment(study, "local", "HIT1", "AS1", "A1", "halfway")
    add_assignment(study, "local", "HIT1", "AS2", "A2", "nothing")
    add_assignment(study, "local", "HIT1", "AS3", "A3", "robot")
    add_assignment(study, "local", "HIT1", "AS4", "A4", "twice")
    add_assignment(study, "local", "HIT1", "AS5", "A5", "twice")
    assert proposals(study) == {
        "AS0": ("wait", "no", "no proof of a finished session was submitted"),
        "AS1": ("wait", "no", "4 of 10 questions answered"),
        "AS2": ("wait", "no", "0 of 10 questions answered"),
        "AS3": ("wait", "no", "a simulated observer, not a person"),
        "AS4": ("yes", "yes", ""),
        "AS5": ("wait", "no", "its session is that of assignment AS4 too"),
    }


def test_one_session_a_worker_is_used_and_every_one_is_paid(study):
    for number in range(3):
        add_session(study, f"o{number}")
        add_assignment(study, "local", "HIT1", f"AS{number}", "A0" if number < 2 else "A1", f"o{number}")
    assert proposals(study) == {
        "AS0": ("yes", "yes", ""),
        "AS1": ("yes", "no", "took part before"),
        "AS2": ("yes", "yes", ""),
    }


def test_a_rehearsal_in_the_sandbox_is_not_used(study, capsys):
    add_session(study, "good")
    add_hit(study, "sandbox", "HIT1")
    add_assignment(study, "sandbox", "HIT1", "AS0", "A0", "good")
    assert proposals(study, "--sandbox") == {"AS0": ("yes", "no", "a rehearsal in the sandbox")}
    assert capsys.readouterr().out.endswith(f"then: eyetune mturk pay {study.root} --sandbox\n")
    with pytest.raises(InputError, match="no assignments in the market local"):
        plan_of(study)


def test_simulated_votes_change_nothing_about_people(study):
    """Agreement with others is with other people only."""
    for number in range(5):
        add_session(study, f"o{number}")
    alone = str(observer_quality(study))
    assert "'agreement_with_others': 0." in alone
    for number in range(4):
        add_session(study, f"robot{number}", side="left", simulator=f'{{"seed": {number}}}')
    assert str(observer_quality(study)) == alone


def test_the_plan_shows_what_it_is_based_on_and_what_it_would_cost(study, capsys):
    for number in range(3):
        add_session(study, f"o{number}", seconds=1.5, sentinels_right=number > 0)
        add_assignment(study, "local", "HIT1", f"AS{number}", f"A{number}", f"o{number}")
    add_assignment(study, "local", "HIT1", "AS3", "A3", None, "no session")
    row = plan_of(study)["AS0"]
    assert list(row) == COLUMNS
    assert (row["worker"], row["hit"], row["observer"], row["votes"]) == ("A0", "HIT1", "o0", "6")
    assert (row["sentinels_right"], row["sentinels"], row["repeats"], row["median_seconds"]) == ("0", "2", "1", "1.50")
    said = capsys.readouterr().out
    assert "to pay:  3 of 4: $3.00 and $0.60 of fees, $3.60 in all" in said
    assert "to use:  2" in said and "to look at: 1" in said
    assert "the first at 2026-05-04T12:00:00.000Z" in said


def test_an_edited_plan_is_not_lost(study):
    add_session(study, "good")
    add_assignment(study, "local", "HIT1", "AS0", "A0", "good")
    plan_of(study)
    path = study.root / "review-local.csv"
    path.write_text("edited")
    with pytest.raises(InputError, match="exists, perhaps edited"):
        review.main([str(study.root)])
    assert path.read_text() == "edited"
    assert plan_of(study, "--force")["AS0"]["pay"] == "yes"


def test_reviewed_work_is_left_out_and_listed_as_it_stands_when_asked(study, capsys):
    for number, status in enumerate(["Approved", "Rejected", "Approved"]):
        add_session(study, f"o{number}", sentinels_right=number < 2)
        add_assignment(study, "local", "HIT1", f"AS{number}", f"A{number}", f"o{number}", status=status)
    review.main([str(study.root)])
    assert "all 3 assignments are reviewed" in capsys.readouterr().out
    assert not (study.root / "review-local.csv").exists()
    with connect(study.votes_path) as store:
        store.execute("UPDATE votes SET rejected = 'review: by hand' WHERE trial IN (SELECT id FROM trials"
                      " WHERE observer = 'o0')")  # fmt: skip
        assert marks(store) == {"o0": "by hand"}
    assert proposals(study, "--all") == {
        "AS0": ("yes", "no", "by hand"),
        "AS1": ("reject", "no", ""),
        "AS2": ("yes", "no", "0 of 2 sentinels right"),  # MTurk approved it by itself: nobody has looked at it
    }


@given(st.text())
def test_text_in_a_sheet_is_no_formula_and_comes_back(text):
    cell = sheet.as_text(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert sheet.of_text(cell) == text.strip()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "1e5", "123456789012345678", "2026-05", "1/2", "'x"])
def test_what_a_spreadsheet_would_change_is_marked_as_text(text):
    assert sheet.as_text(text) == f"'{text}"


def test_hostile_text_of_a_worker_starts_no_cell_whatever_separates_cells(study):
    for number, problem in enumerate(['=HYPERLINK("http://x")', "@a", "-2+3", "+1"]):
        add_assignment(study, "local", "HIT1", f"AS{number}", f"A{number}", None, problem)
    plan_of(study)
    text = (study.root / "review-local.csv").read_text("utf-8-sig")
    cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
    assert len(cells) == 5 * len(COLUMNS)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


HEADER = "assignment,worker,pay,use,reason,bonus_usd,message"
KNOWN = {("AS1", "A1"): None, ("AS2", "A2"): None, ("AS2", "A3"): None}


def read(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "plan.csv"
    path.write_bytes(text.encode(encoding))
    return read_plan(path, KNOWN)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (f"{HEADER}\nAS1,A1,yes,no,bad,0.50,très bien\n", "utf-8"),
        (f"{HEADER}\r\n,,,,,,\r\n\r\nAS1,A1,Yes ,NO,bad,$0.5,très bien\r\n", "utf-8-sig"),
        (f"sep=;\r\n{HEADER.replace(',', ';')}\r\n;;;;;;\r\nAS1;A1;yes;no;bad;0,5;très bien\r\n", "cp1252"),
        ("Message\tbonus_usd\tpay\tnotes\tuse\tWORKER\tassignment\treason\r\n"
         "très bien\t.5\tyes\tx\tno\tA1\tAS1\tbad\r\n", "utf-16"),
    ],
)  # fmt: skip
def test_a_plan_that_a_spreadsheet_saved_reads_the_same(tmp_path, text, encoding):
    (row,) = read(tmp_path, text, encoding)
    assert (row.assignment, row.worker, row.pay, row.use) == ("AS1", "A1", "yes", "no")
    assert (row.reason, row.bonus_cents, row.message) == ("bad", 50, "très bien")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("AS9,A1,yes,yes,,0,", "line 3: assignment 'AS9' is not known in this market"),
        ("AS2,A9,yes,yes,,0,", "line 3: worker 'A9' did not submit assignment AS2, A2 or A3 did"),
        ("AS1,A1,yes,yes,,0,", "line 3: assignment AS1 stands in line 2 already"),
        ("AS2,A2,perhaps,yes,,0,", "line 3: pay = 'perhaps'; expected yes, wait, reject"),
        ("AS2,A2,yes,,,0,", "line 3: use = ''; expected yes, no"),
        ("AS2,A2,reject,no,,0,", "line 3: pay = reject needs a message"),
        ("AS2,A2,reject,yes,,0,because", "line 3: work that is rejected is not used"),
        ("AS2,A2,yes,yes,,1.234,", "line 3: bonus_usd = '1.234'; expected dollars like 0.50"),
        ("AS2,A2,yes,yes,,-1,", "line 3: bonus_usd = '-1'"),
        ("AS2,A2,yes,yes,,1e3,", "line 3: bonus_usd = '1e3'"),
        ("AS2,A2,yes,yes,,0,why,not", "line 3: more cells than the first line names"),
        (f"AS2,A2,yes,yes,,0,{'x' * 1025}", "line 3: a message of 1,025 characters"),
        ('AS2,A2,yes,yes,,0,"open', "1"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named_with_its_line(tmp_path, line, said):
    if said == "1":
        assert read(tmp_path, f"{HEADER}\nAS1,A1,yes,yes,,0,\n{line}")[1].message == "open"
        return
    with pytest.raises(InputError) as error:
        read(tmp_path, f"{HEADER}\nAS1,A1,yes,yes,,0,\n{line}\n")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_the_line_is_that_of_the_file_also_after_a_message_of_two_lines(tmp_path):
    with pytest.raises(InputError, match="line 5: pay"):
        read(tmp_path, f'{HEADER}\r\nAS1,A1,yes,yes,,0,"one\r\ntwo"\r\n\r\nAS2,A2,x,yes,,0,\r\n')


def test_a_column_that_lacks_or_stands_twice_is_named(tmp_path):
    with pytest.raises(InputError, match="no column 'bonus_usd'"):
        read(tmp_path, "assignment;worker;pay;use;reason;message\n")
    with pytest.raises(InputError, match="'pay' stands twice"):
        read(tmp_path, f"{HEADER},pay\n")
    with pytest.raises(InputError, match="not a text file"):
        read(tmp_path, "a\0b")
    with pytest.raises(InputError, match="make a plan with"):
        read_plan(tmp_path / "absent.csv", KNOWN)
