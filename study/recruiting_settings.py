"""The parts of `study.toml` on recruiting: HITs, and other ways in."""

import re
from typing import Literal

from pydantic import Field, model_validator

from study.fees import cents
from study.sections import Section

DOLLARS = r"^[0-9]{1,7}\.[0-9]{2}$"
MOST_SESSIONS = 10_000


class Qualification(Section):
    """One more qualification that a worker needs."""

    id: str = Field(pattern=r"^[A-Z0-9]{1,64}$", description="the qualification type's id")
    comparator: Literal[
        "Exists",
        "DoesNotExist",
        "EqualTo",
        "NotEqualTo",
        "GreaterThan",
        "GreaterThanOrEqualTo",
        "LessThan",
        "LessThanOrEqualTo",
        "In",
        "NotIn",
    ] = Field("Exists", description="how the worker's value must compare")
    values: list[int] = Field([], max_length=15, description="with what; nothing for Exists and DoesNotExist")


class Workers(Section):
    """Who may take the HITs."""

    approval_percent: int = Field(0, ge=0, le=100, description="at least this share of earlier work approved; 0: any")
    approved_hits: int = Field(0, ge=0, description="at least so many HITs approved before; 0: any")
    countries: list[str] = Field([], max_length=30, description='countries, and states: ["US", "CA", "US-NY"]; []: any')
    adult: bool = Field(False, description="only workers who agreed to see adult content")
    masters: bool = Field(False, description="only Masters, which costs 5 % more")
    qualifications: list[Qualification] = Field([], description="further qualifications")

    @model_validator(mode="after")
    def _known_form(self) -> "Workers":
        wrong = [place for place in self.countries if not re.fullmatch(r"[A-Z]{2}(-[A-Z]{2})?", place)]
        if wrong:
            raise ValueError(f"countries: {wrong[0]!r} is no country like US, nor a state like US-NY")
        return self


class Hits(Section):
    """The HITs that `eyetune mturk` publishes."""

    title: str = Field(
        "Compare images: which one is closer to the original?",
        min_length=1,
        max_length=128,
        description="what workers see in the list of HITs",
    )
    description: str = Field(
        "Look at a photograph and two versions of it, and choose the version that looks closer to it.",
        min_length=1,
        max_length=2000,
        description="what workers read before they accept",
    )
    keywords: str = Field(
        "image, comparison, quality, perception", max_length=1000, description="separated by commas, for searches"
    )
    reward_usd: str = Field(
        "1.00", pattern=DOLLARS, description="what one session is paid, in dollars, without MTurk's fee"
    )
    sessions: int = Field(9, ge=1, le=MOST_SESSIONS, description="how many sessions are wanted, one a worker")
    batch: int = Field(
        0, ge=0, le=10_000, description="sessions a HIT, at most; 0: nine where that avoids the higher fee, else all"
    )
    question: Literal["page", "form"] = Field(
        "page", description="page: the voting page at `url`; form: a page without a server, its images at `images_url`"
    )
    url: str = Field("", max_length=1000, description="address of the voting page, https://...; for question = page")
    frame_height: int = Field(0, ge=0, le=20_000, description="of the frame on MTurk, in CSS pixels; 0: the window's")
    upload: str = Field(
        "", max_length=1000, description="where eyetune writes a form's images: s3://bucket/prefix, or a folder"
    )
    images_url: str = Field(
        "",
        max_length=1000,
        description="where browsers read what was uploaded, https://...; empty: from S3 by addresses that expire",
    )
    lifetime_hours: int = Field(168, ge=1, le=8760, description="how long workers can find the HITs")
    duration_minutes: int = Field(60, ge=1, le=525_600, description="how long a worker may take")
    auto_approval_hours: int = Field(
        72, ge=1, le=720, description="work that nobody reviewed by then is approved and paid by MTurk"
    )
    spending_cap_usd: str = Field(
        "20.00", pattern=DOLLARS, description="all HITs and bonuses of the study, with fees, never cost more"
    )
    workers: Workers = Field(default_factory=Workers, description="who may take the HITs")

    @property
    def reward_cents(self) -> int:
        """The reward in cents."""
        return cents(self.reward_usd)

    @property
    def spending_cap_cents(self) -> int:
        """The cap in cents."""
        return cents(self.spending_cap_usd)


class Recruiting(Section):
    """Who may take part, by whichever way, and what other recruiters are told."""

    sessions_per_person: int = Field(
        1, ge=1, le=1000, description="sessions that one worker, Prolific participant or personal code may have"
    )
    open_link: bool = Field(
        True, description="whether the page's bare address lets anybody in; false: only personal links and recruiters"
    )
    practice_right: int = Field(
        0, ge=0, le=100, description="with fewer right practice answers an observer is screened out; 0: nobody is"
    )
    smallest_window: list[int] = Field(
        [0, 0],
        min_length=2,
        max_length=2,
        description="width and height in CSS pixels; smaller windows are asked to grow",
    )
    reward_usd: str = Field(
        "0.00", pattern=DOLLARS, description="what one session is paid outside MTurk, in dollars, for the ledger"
    )
    prolific_completed: str = Field(
        "", pattern=r"^[A-Za-z0-9_-]{0,64}$", description="Prolific's completion code for finished sessions"
    )
    prolific_screened_out: str = Field(
        "", pattern=r"^[A-Za-z0-9_-]{0,64}$", description="its code for who was screened out"
    )
    prolific_full: str = Field(
        "", pattern=r"^[A-Za-z0-9_-]{0,64}$", description="its code for who found every place taken"
    )
