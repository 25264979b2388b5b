"""Amounts, durations and moments as pages say them."""

from datetime import UTC, datetime

from study.fees import dollars

UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def duration(seconds: int) -> str:
    """For example "1 hour 30 minutes": the two largest units."""
    parts = []
    for name, size in UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(parts[:2]) or "0 seconds"


def iso(moment: datetime) -> str:
    """For scripts, in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def utc(moment: datetime) -> str:
    """For people whose browser runs no scripts."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


FILTERS = {"dollars": dollars, "duration": duration, "iso": iso, "utc": utc}
