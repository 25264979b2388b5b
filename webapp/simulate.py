"""`eyetune simulate DIR --observers N`: simulated observers vote through the real page, marked as such for ever.

They see what a browser gets (they know an image by its pixels alone) and answer by the scores of a metric, with noise,
lapses and a side bias (`webapp/observer_model.py` has the equation). Interrupted sessions are finished first.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from analysis.agreement import two_afc
from study.errors import InputError
from study.folder import Study, count_votes
from study.tokens import secret_key, sign
from study.votes import connect, describe_simulator
from webapp.app import create_app
from webapp.observer_model import ObserverModel, Perception, individual
from webapp.serve import serving
from webapp.simulated_browser import SimulatedBrowser, recognition


def main(argv: list[str] | None = None) -> int | None:
    """Let N simulated observers vote."""
    parser = argparse.ArgumentParser(
        prog="eyetune simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", metavar="DIR", type=Path, help="the study's folder")
    parser.add_argument(
        "--observers",
        type=int,
        required=True,
        metavar="N",
        help="how many there are to be in all, so the same command goes on where it was interrupted",
    )
    parser.add_argument("--metric", default="lpips-vgg", help="whose scores decide (%(default)s)")
    parser.add_argument(
        "--noise",
        type=float,
        default=0.5,
        help="decision noise, in standard deviations of the score differences of the test triplets (%(default)s);"
        " differs between observers, log-normally by 0.25",
    )
    parser.add_argument(
        "--lapse",
        type=float,
        default=0.03,
        help="probability of a tossed answer, 0 to 1 (%(default)s); differs between observers, log-normally by 0.5",
    )
    parser.add_argument(
        "--side-bias", type=float, default=0.0, help="pull to the left, in the unit of --noise (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="every answer follows from it (%(default)s)")
    parser.add_argument("--url", help="a running eyetune serve of this study; default: a server of its own")
    options = parser.parse_args(argv)

    if options.observers < 1:
        raise InputError(f"--observers {options.observers}: must be 1 or more")
    if not 0 <= options.noise < float("inf"):
        raise InputError(f"--noise {options.noise}: must be 0 or more")
    if not 0 <= options.lapse <= 1:
        raise InputError(f"--lapse {options.lapse}: must be from 0 to 1")
    if not abs(options.side_bias) < float("inf"):
        raise InputError(f"--side-bias {options.side_bias}: must be a number")
    study = Study(options.study)
    perception = _perception(study, options.metric)

    with _server(study, options.url) as url:
        began = time.monotonic()
        votes = sessions = 0
        population = (options.noise, options.lapse, options.side_bias, options.seed)
        observers = _observers(study, perception, population, options.observers)
        progress = tqdm(total=len(observers), unit="observer", desc="simulating")
        with progress, closing(SimulatedBrowser(url, recognition(study))) as browser:
            for model, token in observers:
                address = f"o/{token}" if token else browser.join(sign(secret_key(study), "simulator", model))
                if address is None:
                    break
                votes += browser.vote_all(address, ObserverModel(**model), perception)
                sessions += 1
                progress.update()
                progress.set_postfix(votes=votes)
        seconds = time.monotonic() - began
    if sessions < len(observers):
        print(f"every comparison has its simulated votes: {sessions:,} of {len(observers):,} sessions were needed")
    if observers:
        print(
            f"{study.root}: {votes:,} SIMULATED votes by {sessions:,} observers in {seconds:.1f} s"
            f" ({votes / max(seconds, 1e-9):.0f} votes/s)"
        )
    else:
        print(f"{study.root}: {options.observers:,} such observers have voted already; ask for more, or another --seed")
    print(ceiling(study, options.metric))
    return 0


def ceiling(study: Study, metric: str) -> str:
    """The sentence that gives the simulating metric's own 2AFC score on the test votes that it made."""
    votes = study.all_judgments()
    votes = votes[votes["simulated"].astype(bool)]
    votes = votes[[describe_simulator(model).get("metric") == metric for model in votes["simulator"]]]
    counted = count_votes(votes, study.triplets)
    if counted.empty:
        return f"no test votes were simulated from {metric} yet"
    scores = study.scores()
    distances = scores[scores["metric"] == metric].set_index("triplet").reindex(counted["id"])
    score = two_afc(counted["prefer_b"], counted["votes"], distances["distance_a"], distances["distance_b"])
    return (
        f"{metric} scores {score:.3f} on its own {counted['votes'].sum():,} test votes (2AFC):"
        " the ceiling for any metric trained on these votes"
    )


def _observers(
    study: Study, perception: Perception, population: tuple[float, float, float, int], number: int
) -> list[tuple[dict[str, Any], str | None]]:
    """Who has yet to vote until `number` observers of this population have: the interrupted ones first, then new ones.

    Each as (model, token); the token is None for who has yet to join. New ones are numbered on from those of the seed.
    """
    seed = population[-1]
    with connect(study.votes_path) as store:
        rows = store.execute(
            "SELECT id, simulator, EXISTS (SELECT 1 FROM trials LEFT JOIN votes ON votes.trial = trials.id"
            " WHERE trials.observer = observers.id AND votes.trial IS NULL) AS unfinished"
            " FROM observers WHERE simulator IS NOT NULL ORDER BY joined_at"
        ).fetchall()
    models = [(row["id"], describe_simulator(row["simulator"]), row["unfinished"]) for row in rows]
    before = [(identity, model, unfinished) for identity, model, unfinished in models if model.get("seed") == seed]
    mine = [
        (identity, model, unfinished)
        for identity, model, unfinished in before
        if model == individual(perception, model["observer"], *population).description()
    ]
    key = secret_key(study)
    interrupted = [(model, sign(key, "observer", identity)) for identity, model, unfinished in mine if unfinished]
    first = 1 + max((model["observer"] for _, model, _ in before), default=-1)
    new = range(first, first + number - len(mine))
    return [*interrupted, *((individual(perception, observer, *population).description(), None) for observer in new)]


def _perception(study: Study, metric: str) -> Perception:
    """The metric's scores of the study; made first, by `eyetune score`, where they are missing."""
    try:
        return Perception(study, metric)
    except InputError:
        print(f"{study.scores_path} lacks {metric}: running eyetune score {study.root} --metrics {metric}", flush=True)
    command = [sys.executable, "-m", "eyetune", "score", str(study.root), "--metrics", metric]
    status = subprocess.run(command, check=False).returncode
    if status == 130:
        raise KeyboardInterrupt
    try:
        return Perception(study, metric)
    except InputError:
        if status:
            sys.exit(status)  # it has said why
        raise


@contextmanager
def _server(study: Study, url: str | None) -> Iterator[str]:
    """The address of the server to vote at; without `url` one of our own, for as long as the block runs."""
    if url:
        try:
            fits = urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname and urlsplit(url).port != 0
        except ValueError:
            fits = False
        if not fits:
            raise InputError(f"--url {url}: must look like http://127.0.0.1:8000/")
        yield url if url.endswith("/") else f"{url}/"
        return
    with serving(create_app(study), study) as own:
        yield own
