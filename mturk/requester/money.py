"""What a command would cost, said before it is done, and a typed yes where the money is real."""

import sys

from study.errors import InputError
from study.fees import dollars


def counted(number: int, noun: str) -> str:
    """For example `1 HIT`, `1,000 HITs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def confirm(market: str, amount_cents: int, lines: list[str]) -> None:
    """Print what is about to happen; in the live market go on only where exactly the amount is typed.

    Raises InputError otherwise. In the other markets no money moves, which is said in place of the question.
    """
    for line in lines:
        print(line)
    amount = dollars(amount_cents)
    if market != "live":
        print(f"total with fees: ${amount} ({market}: a rehearsal, no money moves)")
        return
    print(f"total with fees: ${amount}, of real money")
    ask(amount, "nothing was sent and nothing was spent")


def ask(expected: str, otherwise: str) -> None:
    """Go on only where exactly `expected` is typed. Raises InputError, with what follows from it, where it is not."""
    print(f"Type {expected} to go on: ", end="", flush=True)
    if sys.stdin is None or sys.stdin.readline().strip() != expected:  # None: the command was started without one
        raise InputError(f"not confirmed: {otherwise}")
