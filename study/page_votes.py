"""A vote as a page sends it: checked, and stored once."""

import sqlite3
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _utc(text: str) -> str:
    """The time as ISO 8601 in UTC, to the millisecond, as `study.votes.now` writes it."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time needs its time zone, for example 2026-05-01T12:00:00.000Z")
    if not 2000 <= time.year <= 9000:  # beyond, the turn to UTC may leave the calendar
        raise ValueError("no such year")
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[str, Field(max_length=40), AfterValidator(_utc)]


class Vote(BaseModel):
    """What the page sends; the columns of `records.Judgment` that only the page knows."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    trial: str = Field(max_length=64)
    side: Literal["left", "right"]
    protocol: Literal["side-by-side", "flip"]
    shown_at: Time
    loaded_at: Time
    answered_at: Time
    flips: int = Field(ge=0, le=1_000_000)
    zoom: float = Field(gt=0, le=64)
    screen_width: int | None = Field(ge=1, le=100_000)
    screen_height: int | None = Field(ge=1, le=100_000)
    pixel_ratio: float | None = Field(gt=0, le=64)


INSERT = f"""
INSERT INTO votes ({", ".join(Vote.model_fields)}, received_at)
VALUES ({", ".join(f":{name}" for name in Vote.model_fields)}, :received_at) ON CONFLICT (trial) DO NOTHING
"""


def store(connection: sqlite3.Connection, vote: Vote, received_at: str) -> bool:
    """Whether the vote is new; a second vote on a trial changes nothing."""
    return connection.execute(INSERT, {**vote.model_dump(), "received_at": received_at}).rowcount == 1
