"""Many payments, of which MTurk may refuse some: one that cannot be made does not keep the others waiting."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from tqdm import tqdm

from mturk.requester.client import Refused
from mturk.requester.money import counted
from study.errors import InputError

NO_MONEY = "AWS.MechanicalTurk.InsufficientFunds"  # then the others would be refused as well

Payment = TypeVar("Payment")


def each(payments: Sequence[Payment], what: str, pay: Callable[[Payment], None]) -> list[tuple[Payment, Refused]]:
    """Call `pay` for each; returns those that MTurk refused. Where the account is empty raises at once."""
    refusals = []
    for payment in tqdm(payments, desc=what, disable=not payments):
        try:
            pay(payment)
        except Refused as refusal:
            if refusal.code == NO_MONEY:
                raise
            refusals.append((payment, refusal))
    return refusals


def report(refusals: list[tuple[Payment, Refused]], where: Callable[[Payment], str]) -> None:
    """Print each refusal with where the plan has it, and raise InputError where there are any."""
    for payment, refusal in refusals:
        print(f"{where(payment)}: {refusal}")
    if refusals:
        raise InputError(f"refused: {counted(len(refusals), 'payment')}, see above; all others are made")
