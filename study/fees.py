"""What Mechanical Turk charges, exact to the cent. Amounts are whole cents.

Source: MTurk's price page as of 2026: 20 % of rewards and bonuses, at least $0.01 an assignment; 20 % more for a HIT of
10 or more assignments; 5 % more for Masters; rounded half up.
"""

import re

BASE_PERCENT = 20
LARGE_PERCENT = 20  # more, for a HIT with LARGE assignments or more
MASTERS_PERCENT = 5
LARGE = 10
SMALL_BATCH = LARGE - 1  # the most assignments that a HIT has without the higher fee

_DOLLARS = re.compile(r"[0-9]{1,7}(\.[0-9]{1,2})?")


def fee_cents(reward_cents: int, assignments: int, masters: bool = False) -> int:
    """The fee for each assignment of a HIT with so many `assignments`, in cents; at least 1."""
    large = LARGE_PERCENT if assignments >= LARGE else 0
    return max(1, _percent(reward_cents, BASE_PERCENT + large + (MASTERS_PERCENT if masters else 0)))


def bonus_fee_cents(bonus_cents: int) -> int:
    """The fee for a bonus, in cents; at least 1."""
    return max(1, _percent(bonus_cents, BASE_PERCENT))


def hit_cents(reward_cents: int, assignments: int, masters: bool = False) -> int:
    """Rewards and fees of a whole HIT, in cents."""
    return assignments * (reward_cents + fee_cents(reward_cents, assignments, masters))


def batches(assignments: int, reward_cents: int, masters: bool = False, batch: int = 0) -> list[int]:
    """The assignments of each HIT: `batch` at most; with 0 in nines where that is cheaper than one HIT of all."""
    if not batch and assignments:
        nines = _split(assignments, SMALL_BATCH)
        cheaper = sum(hit_cents(reward_cents, n, masters) for n in nines) < hit_cents(
            reward_cents, assignments, masters
        )
        return nines if cheaper else [assignments]
    return _split(assignments, batch or 1)


def hit_sizes(question: str, sessions: int, reward_cents: int, masters: bool, batch: int) -> list[int]:
    """The places of each HIT: a form holds the trials of one session, the page gives everybody new ones."""
    return [1] * sessions if question == "form" else batches(sessions, reward_cents, masters, batch)


def cents(dollars: str) -> int:
    """Whole cents of an amount like "1.25", below ten million dollars. Raises ValueError for another text."""
    if not _DOLLARS.fullmatch(dollars):
        raise ValueError(f"{dollars!r} is no amount in dollars like 1.25")
    whole, _, part = dollars.partition(".")
    return 100 * int(whole) + int(part.ljust(2, "0"))


def dollars(amount_cents: int) -> str:
    """The amount as "1.25"."""
    sign = "-" if amount_cents < 0 else ""
    return f"{sign}{abs(amount_cents) // 100}.{abs(amount_cents) % 100:02d}"


def _percent(amount_cents: int, percent: int) -> int:
    return (amount_cents * percent + 50) // 100  # half up


def _split(total: int, most: int) -> list[int]:
    return [most] * (total // most) + ([total % most] if total % most else [])
