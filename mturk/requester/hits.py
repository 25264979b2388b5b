"""A study's HITs as CreateHIT's parameters, and in the tables `hits` and `assignments` of the vote store."""

import json
import sqlite3
from datetime import UTC, datetime
from typing import Any

from study.errors import InputError
from study.fees import dollars, fee_cents
from study.settings import Hits

APPROVAL_PERCENT = "000000000000000000L0"
APPROVED_HITS = "00000000000000000040"
LOCALE = "00000000000000000071"
ADULT = "00000000000000000060"
MASTERS = {
    "live": "2F1QJWKUDD8XADTFD2Q0G6UTO95ALH",
    "sandbox": "2ARFPLSP75KLA8M8DH1HTEQVJT3SY6",
    "local": "2ARFPLSP75KLA8M8DH1HTEQVJT3SY6",
}
MOST_REQUIREMENTS = 10  # of a HIT
HOUR, MINUTE = 3600, 60  # seconds
NO_SUCH_HIT = "AWS.MechanicalTurk.HITDoesNotExist"


def create_parameters(hits: Hits, market: str, places: int, token: str, took_part: str | None) -> dict[str, Any]:
    """CreateHIT's parameters for one HIT, but for its Question.

    `took_part` is the qualification type of those who have taken part before. The token is both the request's and the
    HIT's annotation: by the one MTurk knows the call again for 24 hours, by the other we know the HIT as long as it
    lives.
    """
    return {
        "Title": hits.title,
        "Description": hits.description,
        "Keywords": hits.keywords,
        "Reward": dollars(hits.reward_cents),
        "MaxAssignments": places,
        "LifetimeInSeconds": hits.lifetime_hours * HOUR,
        "AssignmentDurationInSeconds": hits.duration_minutes * MINUTE,
        "AutoApprovalDelayInSeconds": hits.auto_approval_hours * HOUR,
        "RequesterAnnotation": token,
        "UniqueRequestToken": token,
        "QualificationRequirements": requirements(hits, market, took_part),
    }


def requirements(hits: Hits, market: str, took_part: str | None) -> list[dict[str, Any]]:
    """The qualification requirements that `hits.workers` ask for. Raises InputError for more than ten."""
    workers = hits.workers
    found: list[dict[str, Any]] = []
    if workers.approval_percent:
        found.append(_require(APPROVAL_PERCENT, "GreaterThanOrEqualTo", IntegerValues=[workers.approval_percent]))
    if workers.approved_hits:
        found.append(_require(APPROVED_HITS, "GreaterThanOrEqualTo", IntegerValues=[workers.approved_hits]))
    if workers.countries:
        found.append(_require(LOCALE, "In", LocaleValues=[_locale(place) for place in workers.countries]))
    if workers.adult:
        found.append(_require(ADULT, "EqualTo", IntegerValues=[1]))
    if workers.masters:
        found.append(_require(MASTERS[market], "Exists"))
    if took_part:
        found.append(_require(took_part, "DoesNotExist") | {"ActionsGuarded": "DiscoverPreviewAndAccept"})
    for asked in workers.qualifications:
        found.append(_require(asked.id, asked.comparator, **({"IntegerValues": asked.values} if asked.values else {})))
    if len(found) > MOST_REQUIREMENTS:
        raise InputError(
            f"hits.workers asks for {len(found)} qualifications, one of them that who took part is not asked again;"
            f" MTurk allows {MOST_REQUIREMENTS}"
        )
    return found


def unit_cents(hits: Hits, places: int) -> tuple[int, int]:
    """Reward and fee of one assignment of a HIT with so many places, in cents."""
    return hits.reward_cents, fee_cents(hits.reward_cents, places, hits.workers.masters)


def record_hit(connection: sqlite3.Connection, entry: sqlite3.Row, hit: dict[str, Any]) -> None:
    """Write the HIT that the ledger entry created, as MTurk describes it, into the table `hits`."""
    request = json.loads(entry["request"])
    connection.execute(
        "INSERT INTO hits (market, id, token, question, observer, reward_cents, fee_cents, places, created_at,"
        " expires_at, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open')",
        [
            entry["market"],
            hit["HITId"],
            entry["token"],
            request["question"],
            request["observer"],
            entry["reward_cents"] // entry["count"],
            entry["fee_cents"] // entry["count"],
            entry["count"],
            iso(hit["CreationTime"]),
            iso(hit["Expiration"]),
        ],
    )


def all_hits(connection: sqlite3.Connection, market: str, deleted: bool = False) -> list[sqlite3.Row]:
    """The study's HITs in a market, oldest first."""
    return connection.execute(
        "SELECT * FROM hits WHERE market = ? AND (? OR status <> 'deleted') ORDER BY rowid", [market, deleted]
    ).fetchall()


def iso(time: datetime) -> str:
    """The time as the vote store writes it."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _require(identity: str, comparator: str, **values: Any) -> dict[str, Any]:
    return {"QualificationTypeId": identity, "Comparator": comparator, **values}


def _locale(place: str) -> dict[str, str]:
    country, _, part = place.partition("-")
    return {"Country": country, "Subdivision": part} if part else {"Country": country}
