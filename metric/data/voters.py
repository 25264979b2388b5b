"""Whose answers are used, by the rules of `Study.judgments`: simulated ones are never mixed with others unasked."""

import pandas as pd

from study.errors import InputError
from study.folder import Voters

NOUNS = {"comparisons": "votes", "same_different": "same/different answers", "ratings": "ratings"}


def choose(
    tables: dict[str, pd.DataFrame], voters: Voters, name: str
) -> tuple[dict[str, pd.DataFrame], str, str, set[str]]:
    """The rows to use, the sentence that says whose they are, `Data.voters`, and the metrics that simulated them.

    `tables` are `Rows.table` by kind. `auto` takes those that are not simulated where there are any. Raises InputError
    where none is left, or where the data do not tell what `voters` asks.
    """
    answers = {kind: table for kind, table in tables.items() if kind in NOUNS}
    if not answers:
        return tables, "no votes", "unknown", set()
    program = {kind: table["simulated"].map(lambda value: value is True) for kind, table in answers.items()}
    untold = [table[table["simulated"].isna()] for table in answers.values()]
    of_programs = {kind: int(table["votes"][program[kind]].sum()) for kind, table in answers.items()}
    of_others = {kind: int(table["votes"][~program[kind]].sum()) for kind, table in answers.items()}
    unknown = any(len(rows) for rows in untold)
    if voters in ("human", "simulated") and unknown:
        place = next(rows["place"].iloc[0] for rows in untold if len(rows))
        raise InputError(
            f"{place}: --voters {voters} cannot choose, as nothing tells whose this answer is; add a column simulated"
        )
    if voters == "auto":
        voters = "human" if sum(of_others.values()) else "simulated"
    kept = dict(tables)
    if voters != "all":
        kept |= {kind: table[program[kind] == (voters == "simulated")] for kind, table in answers.items()}
    counts = {"human": of_others, "simulated": of_programs}.get(voters, {})
    if voters != "all" and not sum(counts.values()):
        raise InputError(f"{name}: no {voters} votes; choose others with --voters")
    simulators = {
        str(who) or "unknown" for kind in answers for who in kept[kind]["simulator"][program[kind]].unique()
    }  # fmt: skip
    kept = {kind: table.reset_index(drop=True) for kind, table in kept.items() if len(table)}
    who, sentence = _sentence(voters, unknown, of_others, of_programs)
    return kept, sentence, who, simulators


def _sentence(voters: str, unknown: bool, others: dict[str, int], programs: dict[str, int]) -> tuple[str, str]:
    people, by_people, by_programs = "" if unknown else "human ", sum(others.values()), sum(programs.values())
    if voters == "all" and by_people and by_programs:
        mixed = [
            f"{others[kind]:,} {people or 'unmarked '}and {programs[kind]:,} SIMULATED {NOUNS[kind]}" for kind in others
        ]
        return "mixed", ", ".join(mixed) + " mixed, as asked"
    if voters == "simulated" or not by_people:
        counted = ", ".join(f"{count:,} SIMULATED {NOUNS[kind]}" for kind, count in programs.items() if count)
        left = f" ({by_people:,} human answers left out, as asked)" if by_people else ""
        return "simulated", f"{counted}, none from a person{left}"
    counted = ", ".join(f"{count:,} {people}{NOUNS[kind]}" for kind, count in others.items() if count)
    told = " (the data do not tell whose)" if unknown else ""
    left = f" ({by_programs:,} simulated answers left out)" if by_programs else ""
    return "unknown" if unknown else "human", counted + told + left
