"""Amounts of money in requests and answers: dollars as a text, such as "0.05"."""

from mturk.server.refusals import out_of_range
from study.fees import dollars

MOST_DOLLARS = 10_000


def read_cents(name: str, amount: str, least_cents: int = 0) -> int:
    """Whole cents of a CurrencyAmount. Raises RequestError below `least_cents` and above ten thousand dollars."""
    whole, _, part = amount.partition(".")
    cents = 100 * int(whole) + int((part or "0").ljust(2, "0")) if len(whole) <= 12 else 10**14
    if not least_cents <= cents <= 100 * MOST_DOLLARS:
        raise out_of_range(name, amount, dollars(least_cents), MOST_DOLLARS)
    return cents
