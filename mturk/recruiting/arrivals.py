"""Who came by which way, and how far they got."""

import argparse

from study.folder import Study
from study.votes import connect

# A person may have several tasks; each is counted once, under how it ended.
COUNTS = """
SELECT channel, market, count(DISTINCT person) AS people, count(*) AS came,
       count(*) FILTER (WHERE outcome = 'finished') AS finished,
       count(*) FILTER (WHERE outcome = 'screened out') AS screened_out,
       count(*) FILTER (WHERE outcome = 'again') AS again,
       count(*) FILTER (WHERE outcome = 'full') AS no_place,
       count(*) FILTER (WHERE outcome IS NULL) AS open
FROM recruits GROUP BY channel, market ORDER BY channel, market
"""
HEADINGS = {
    "people": "people",
    "came": "tasks",
    "finished": "finished",
    "screened_out": "screened out",
    "again": "took part before",
    "no_place": "no place left",
    "open": "not finished",
}
UNRECRUITED = """
SELECT count(*) FROM observers WHERE simulator IS NULL AND id NOT IN (SELECT observer FROM recruits
    WHERE observer IS NOT NULL) AND id NOT IN (SELECT observer FROM hits WHERE observer IS NOT NULL)
"""


def run(study: Study, options: argparse.Namespace) -> None:
    """Print one line a way in."""
    if not study.votes_path.exists():
        print("nobody has come yet")
        return
    with connect(study.votes_path) as store:
        rows = store.execute(COUNTS).fetchall()
        (others,) = store.execute(UNRECRUITED).fetchone()
    print(f"{'':<15}" + "".join(f"{heading:>18}" for heading in HEADINGS.values()))
    for row in rows:
        way = f"{row['channel']} {row['market']}".strip()
        print(f"{way:<15}" + "".join(f"{row[name]:>18,}" for name in HEADINGS))
    print(f"by the page's bare address: {others:,}")
