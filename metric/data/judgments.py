"""What is known of a set of images: comparisons with their votes, same/different answers, ratings, ladders.

The trainer and `eyetune score` see only `Data`, wherever it comes from. Images are named by keys, which `Data.image`
reads.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.observers import observer_table
from study.errors import InputError
from study.folder import Study, Voters, count_votes, whose
from study.images import Pixels
from study.votes import describe_simulator

COMPARISONS = [
    "id", "source", "reference", "a", "b", "prefer_b", "votes", "part", "codec_a", "codec_b", "rate_a", "rate_b",
]  # fmt: skip
ANSWERS = ["comparison", "observer", "prefer_b"]
SAME_DIFFERENT = ["id", "source", "reference", "distorted", "different", "votes", "part"]
RATINGS = ["id", "source", "reference", "distorted", "rating", "votes", "part"]
LADDERS = ["ladder", "source", "reference", "distorted", "level"]


@dataclass
class Data:
    """Judgments of images. Tables may be empty but always have their columns."""

    name: str
    folder: Path
    """Where results go: `runs/`, `report/`, `scores.parquet`."""
    whose: str
    """A sentence: how many votes, and whose."""
    voters: str
    """human, simulated, mixed; `unknown` where a table does not tell."""
    image: Callable[[str], Pixels]
    """The `(H, W, 3)` uint8 pixels behind a key."""
    comparisons: pd.DataFrame
    """COMPARISONS: which of a and b is closer to the reference? Of `votes` answers `prefer_b` chose b (0.5 each for a
    "not sure"). `source` is the photograph, by which splits are made; `part` the kind of comparison; `rate_a` and
    `rate_b` are bits per pixel."""
    answers: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=ANSWERS))
    """ANSWERS: one row an answer (`prefer_b` 0, 0.5 or 1), where observers are known."""
    reliability: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    """Of each observer, from 0.5 (tosses a coin) to 1."""
    same_different: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SAME_DIFFERENT))
    """SAME_DIFFERENT: of `votes` observers `different` saw a difference between the two images."""
    ratings: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=RATINGS))
    """RATINGS: mean quality, larger is better, by `votes` observers."""
    ladders: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=LADDERS))
    """LADDERS: the images of one ladder come from one codec; a higher level is a better image."""
    to_score: pd.DataFrame | None = None
    """id, reference, a, b of every comparison that `eyetune score` is to give distances for; None: `comparisons`."""
    distances: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Metrics whose distances came with the data: columns distance_a, distance_b, indexed by comparison."""
    pair_distances: dict[str, pd.Series] = field(default_factory=dict)
    """The same for the pairs of `same_different`, `ratings` and `ladders`, indexed by (reference, distorted). A metric
    may be known for one of the tables only."""
    simulators: frozenset[str] = frozenset()
    """The metrics from which simulated observers voted."""
    where: Callable[[str], str] = str
    """What an error calls the image behind a key."""
    identity: Callable[[str], str] = str
    """What changes when the image behind a key does; results are kept under it."""


def images_of(study: Study) -> Data:
    """A study's images, triplets and ladders without any votes: `comparisons` is empty."""
    _check_sizes(study.triplets, study.stimuli.set_index("id"))
    return Data(
        name=study.settings.name,
        folder=study.root,
        whose="no votes",
        voters="unknown",
        image=study.image,
        comparisons=pd.DataFrame(columns=COMPARISONS),
        ladders=study_ladders(study),
        to_score=keyed(study),
        where=study.images.place,
    )


def from_study(study: Study, voters: Voters = "auto") -> Data:
    """The test comparisons of a study that have votes; inattentive observers are left out, as the report does."""
    judgments, observers, sentence = attentive_judgments(study, voters)
    counted = count_votes(judgments, study.triplets)
    if counted.empty:
        raise InputError(
            f"{study.root}: none of the votes is an attentive observer's answer to a test triplet;"
            f" see eyetune analyze {study.root}"
        )
    stimuli = study.stimuli.set_index("id")
    table = counted.rename(columns={"comparison": "part"}).astype({"prefer_b": float, "votes": float})
    table["source"] = stimuli["source"].reindex(counted["reference"]).to_numpy()
    for side in ("a", "b"):
        table[f"codec_{side}"] = stimuli["codec"].reindex(counted[side]).to_numpy()
        table[f"rate_{side}"] = stimuli["bits_per_pixel"].reindex(counted[side]).to_numpy()
    for column in ("reference", "a", "b"):
        table[column] = stimuli["sha256"].reindex(counted[column]).to_numpy()
    answered = judgments[judgments["triplet"].isin(counted["id"])]
    chose_b = answered["chosen"].to_numpy() == counted.set_index("id")["b"].reindex(answered["triplet"]).to_numpy()
    return replace(
        images_of(study),
        whose=sentence,
        voters=whose(judgments),
        comparisons=table[COMPARISONS],
        answers=pd.DataFrame(
            {
                "comparison": answered["triplet"].to_numpy(),
                "observer": answered["observer"].to_numpy(),
                "prefer_b": chose_b.astype(float),
            }
        ),
        reliability=observers.set_index("observer")["reliability"],
        simulators=frozenset(simulators(judgments)),
    )


def attentive_judgments(study: Study, voters: Voters) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """`Study.judgments` without excluded observers (they failed sentinels, or chose one side only); and the observers.

    The third result is the sentence that says whose votes they are.
    """
    judgments, sentence = study.judgments(voters)
    observers = observers_of(study, judgments)
    excluded = observers["observer"][observers["excluded"] & observers["observer"].isin(judgments["observer"])]
    if len(excluded):
        judgments = judgments[~judgments["observer"].isin(excluded)].reset_index(drop=True)
        sentence += f"; {len(excluded):,} inattentive observers left out (eyetune analyze tells which)"
    return judgments, observers, sentence


def observers_of(study: Study, judgments: pd.DataFrame) -> pd.DataFrame:
    """observer, votes, reliability, excluded, reason: from report/observers.csv where it is of these very votes.

    Else, also where votes have come since the report, they are computed as the report does it.
    """
    path = study.report_folder / "observers.csv"
    if not path.exists():
        return observer_table(judgments, study.triplets)
    columns = {"observer": str, "votes": int, "reliability": float, "excluded": bool}
    try:
        table = pd.read_csv(path, usecols=[*columns, "reason"], dtype=columns)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not readable ({error}); make it again: eyetune analyze {study.root}") from None
    wrong = table[~table["reliability"].between(0, 1)]
    if len(wrong):
        row = wrong.iloc[0]
        raise InputError(f"{path}: observer {row['observer']}: reliability {row['reliability']} is not from 0 to 1")
    test = study.triplets["id"][study.triplets["kind"] == "test"]
    votes = judgments["triplet"].isin(test).groupby(judgments["observer"]).sum()
    reported = table.drop_duplicates("observer").set_index("observer")["votes"].reindex(votes.index)
    return table if (reported == votes).all() else observer_table(judgments, study.triplets)


def simulators(judgments: pd.DataFrame) -> set[str]:
    """The metrics from which simulated observers among `judgments` voted."""
    return {describe_simulator(model).get("metric", "unknown") for model in judgments["simulator"].dropna().unique()}


def keyed(study: Study) -> pd.DataFrame:
    """id, reference, a, b of all triplets of a study, the images by their SHA-256."""
    digests = study.stimuli.set_index("id")["sha256"]
    columns = {name: digests.reindex(study.triplets[name]).to_numpy() for name in ("reference", "a", "b")}
    return pd.DataFrame({"id": study.triplets["id"].to_numpy(), **columns})


def study_ladders(study: Study) -> pd.DataFrame:
    """One ladder for each crop and codec with two or more rates: LADDERS, a higher rate being the better image."""
    stimuli = study.stimuli
    place = ["source", "crop_x", "crop_y"]
    references = stimuli[stimuli["codec"] == "reference"].drop_duplicates(place)
    steps = stimuli[stimuli["bits_per_pixel"].notna()].merge(
        references[[*place, "sha256"]], on=place, suffixes=("", "_reference")
    )
    table = pd.DataFrame({
        "ladder": steps["source"] + " " + steps["crop_x"].astype(str) + "," + steps["crop_y"].astype(str) + " "
        + steps["codec"],
        "source": steps["source"],
        "reference": steps["sha256_reference"],
        "distorted": steps["sha256"],
        "level": steps["bits_per_pixel"].astype(float),
    })  # fmt: skip
    return table[table.groupby("ladder")["level"].transform("nunique") > 1].reset_index(drop=True)


def _check_sizes(triplets: pd.DataFrame, stimuli: pd.DataFrame) -> None:
    for side in ("a", "b"):
        sizes = [stimuli.loc[triplets[name], ["width", "height"]].to_numpy() for name in ("reference", side)]
        wrong = np.flatnonzero((sizes[0] != sizes[1]).any(axis=1))
        if wrong.size:
            raise InputError(f"triplet {triplets['id'].iloc[wrong[0]]}: {side} and its reference differ in size")
