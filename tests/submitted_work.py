"""A study with submitted work in its vote store, as `eyetune mturk collect` leaves it."""

from study.folder import Study
from study.records import Triplet
from study.sessions import new_session, trials_of
from study.votes import connect, transaction

SESSION = {"trials": 6, "sentinels": 2, "repeats": 1, "practice": 1, "votes_per_triplet": 1000}
REWARD, FEE = 100, 20  # cents


def add_session(
    study: Study, observer: str, sentinels_right: bool = True, seconds: float = 2.0, side: str | None = None,
    answered: int | None = None, simulator: str | None = None,
) -> None:  # fmt: skip
    """A session whose first `answered` trials (None: all) have votes, each after `seconds`."""
    triplets = [Triplet(**row) for row in study.triplets.to_dict("records")]
    expected = {triplet.id: triplet.expected == triplet.a for triplet in triplets if triplet.expected}
    with connect(study.votes_path) as store, transaction(store):
        assert new_session(store, triplets, study.settings.session, observer, simulator)
        trials = trials_of(store, observer)
        for number, trial in enumerate(trials[:answered]):
            chosen = side or ("left", "right")[number % 2]
            if trial["triplet"] in expected:
                a_left, wants_a = trial["left_is"] == "a", expected[trial["triplet"]] == sentinels_right
                chosen = "left" if a_left == wants_a else "right"
            milliseconds = round(seconds * 1000)
            store.execute(
                "INSERT INTO votes (trial, side, protocol, shown_at, loaded_at, answered_at, received_at, flips, zoom)"
                " VALUES (?, ?, 'side-by-side', ?, ?, ?, ?, 0, 1)",
                [
                    trial["id"],
                    chosen,
                    "2026-05-01T12:00:00.000Z",
                    "2026-05-01T12:00:00.000Z",
                    f"2026-05-01T12:00:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}Z",
                    f"2026-05-01T12:00:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}Z",
                ],
            )


def add_hit(study: Study, market: str, hit: str, places: int = 9) -> None:
    with connect(study.votes_path) as store, transaction(store):
        store.execute(
            "INSERT INTO ledger (token, channel, market, action, subject, person, count, reward_cents, fee_cents,"
            " request, written_at, settled_at, outcome) VALUES (?, 'mturk', ?, 'create', '0', '', ?, ?, ?, '{}', '',"
            " '', 'done')",
            [f"create {market} {hit}", market, places, places * REWARD, places * FEE],
        )
        store.execute(
            "INSERT INTO hits (market, id, token, question, reward_cents, fee_cents, places, created_at, expires_at,"
            " status) VALUES (?, ?, ?, 'page', ?, ?, ?, '', '', 'open')",
            [market, hit, f"create {market} {hit}", REWARD, FEE, places],
        )


def add_assignment(
    study: Study, market: str, hit: str, assignment: str, worker: str, observer: str | None,
    problem: str | None = None, status: str = "Submitted", submitted_at: str = "2026-05-01T12:00:00.000Z",
) -> None:  # fmt: skip
    with connect(study.votes_path) as store, transaction(store):
        store.execute(
            "INSERT INTO assignments (market, id, worker, hit, status, submitted_at, auto_approval_at, answer,"
            " observer, problem, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, '', ?, ?, '')",
            [market, assignment, worker, hit, status, submitted_at, "2026-05-04T12:00:00.000Z", observer, problem],
        )
