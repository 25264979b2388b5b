"""Personal links: one a person, for a study without Mechanical Turk or Prolific."""

import argparse
import re
import sys
from urllib.parse import parse_qs, urlsplit

from study.errors import InputError
from study.folder import Study
from study.recruits import MTURK, PERSONAL_CODES, PROLIFIC, personal_code
from study.tokens import secret_key

TAKEN = {"code", "turkSubmitTo", *MTURK, *PROLIFIC}  # parameters that say who comes


def run(study: Study, options: argparse.Namespace) -> None:
    """Print the links of the first N people; the same command prints the same links, a larger N more of them."""
    if not 1 <= options.people <= PERSONAL_CODES:
        raise InputError(f"--people {options.people}: must be from 1 to {PERSONAL_CODES:,}")
    key = secret_key(study)
    for number in range(options.people):
        print(page_address(options.url, f"code={personal_code(key, number)}"))
    if study.settings.recruiting.open_link:
        print(
            "note: the page's bare address lets anybody in; recruiting.open_link = false in study.toml keeps them out",
            file=sys.stderr,
        )


def page_address(url: str, query: str) -> str:
    """The voting page's address with `query` added. Raises InputError for what is no such address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s<>\"']", url):
        raise InputError(f"--url {url}: must be the voting page's address, like https://lab.example/study/")
    if parts.fragment:
        raise InputError(f"--url {url}: leave out what follows the #")
    taken = sorted(TAKEN & set(parse_qs(parts.query, keep_blank_values=True)))
    if taken:
        raise InputError(f"--url {url}: leave {taken[0]} out; eyetune adds who comes")
    return f"{url}{'&' if parts.query else '?'}{query}"
