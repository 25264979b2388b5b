"""`eyetune mturk cost DIR`: what a study's HITs cost, to the cent, before anything is published."""

import argparse
from pathlib import Path

from mturk.requester.money import counted
from study.errors import InputError
from study.fees import LARGE, bonus_fee_cents, dollars, fee_cents, hit_cents, hit_sizes
from study.folder import Study
from study.recruiting_settings import MOST_SESSIONS


def main(argv: list[str] | None = None) -> int | None:
    """Print the price of what study.toml asks for."""
    parser = argparse.ArgumentParser(
        prog="eyetune mturk cost", description=f"{__doc__} Fees are MTurk's: 20 % of rewards and bonuses, at least a"
        f" cent; 20 % more for HITs of {LARGE} or more assignments; 5 % more for Masters."
    )  # fmt: skip
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    parser.add_argument("--sessions", type=int, metavar="N", help="how many sessions (default: hits.sessions)")
    options = parser.parse_args(argv)

    settings = Study(options.study).settings
    hits, masters = settings.hits, settings.hits.workers.masters
    sessions = hits.sessions if options.sessions is None else options.sessions
    if not 1 <= sessions <= MOST_SESSIONS:
        raise InputError(f"--sessions {sessions}: must be from 1 to {MOST_SESSIONS:,}")
    reward = hits.reward_cents
    sizes = hit_sizes(hits.question, sessions, reward, masters, hits.batch)
    total = sum(hit_cents(reward, size, masters) for size in sizes)
    print(f"sessions:   {sessions:,} in {counted(len(sizes), 'HIT')} ({describe_sizes(sizes)})")
    print(f"reward:     ${dollars(reward)} a session")
    fees = [f"${dollars(fee_cents(reward, size, masters))}" for size in _kinds(sizes)]
    print(f"fee:        {' and '.join(fees)} a session")
    print(f"total:      ${dollars(total)}, of which ${dollars(total - sessions * reward)} are fees")
    single = hit_cents(reward, sessions, masters)
    if single > total:
        print(f"            as one HIT it would be ${dollars(single)}")
    trials = settings.session.trials
    print(f"a vote:     ${total / sessions / trials / 100:.4f} ({trials} test votes a session)")
    print(f"bonuses:    each with a fee, for example ${dollars(bonus_fee_cents(100))} on $1.00")
    cap = hits.spending_cap_cents
    print(f"cap:        ${dollars(cap)}" + ("" if total <= cap else ", which is less: publish would stop there"))
    return 0


def describe_sizes(sizes: list[int]) -> str:
    """For example `3 x 9, 1 x 2`."""
    return ", ".join(f"{sizes.count(size):,} x {size:,}" for size in sorted(set(sizes), reverse=True))


def _kinds(sizes: list[int]) -> list[int]:
    """One size for each fee: below and from the limit on."""
    return [max(some) for some in ([s for s in sizes if s >= LARGE], [s for s in sizes if s < LARGE]) if some]
