"""The study folder: where each table and image is, and whether they fit together."""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from study import tables
from study.errors import InputError
from study.files import sha256
from study.image_store import image_store
from study.images import Pixels, decode_rgb, encode_png
from study.records import Judgment, Score, Stimulus, Triplet
from study.settings import read_settings
from study.votes import read_judgments

Voters = Literal["auto", "human", "simulated", "all"]
VOTERS: tuple[Voters, ...] = get_args(Voters)
AT_ONCE = 8  # images read at a time where all are: an address answers each after a while


class Study:
    """A study folder. Tables are read and checked when they are first asked for."""

    def __init__(self, root: Path | str) -> None:
        """Open the study at `root`; raises InputError where it is none."""
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"{root}: no such folder; make a study with: eyetune new {root} --images PHOTOGRAPHS")
        if not self.settings_path.is_file():
            raise InputError(
                f"{root} is not a study folder (no study.toml in it); make one: eyetune new DIR --images PHOTOGRAPHS"
            )
        self.settings = read_settings(self.settings_path)
        self.images = image_store(self.settings.stimuli, self.root)

    @property
    def settings_path(self) -> Path:
        """study.toml."""
        return self.root / "study.toml"

    @property
    def stimuli_path(self) -> Path:
        """stimuli.parquet."""
        return self.root / "stimuli.parquet"

    @property
    def triplets_path(self) -> Path:
        """triplets.parquet."""
        return self.root / "triplets.parquet"

    @property
    def votes_path(self) -> Path:
        """votes.sqlite, the vote store."""
        return self.root / "votes.sqlite"

    @property
    def judgments_path(self) -> Path:
        """judgments.parquet, the votes as exported."""
        return self.root / "judgments.parquet"

    @property
    def scores_path(self) -> Path:
        """scores.parquet."""
        return self.root / "scores.parquet"

    @property
    def report_folder(self) -> Path:
        """report/."""
        return self.root / "report"

    @property
    def runs_folder(self) -> Path:
        """runs/."""
        return self.root / "runs"

    @cached_property
    def stimuli(self) -> pd.DataFrame:
        """One row a stimulus, as `records.Stimulus`. Raises InputError for a duplicate id or a missing image."""
        if not self.stimuli_path.exists():
            raise InputError(f"{self.root} has no stimuli yet; make them with: eyetune distort {self.root}")
        table = tables.read(self.stimuli_path, Stimulus)
        _check_unique(table, self.stimuli_path)
        there = self.images.digests()
        for row in table.itertuples():
            if row.sha256 not in there:
                place = self.images.place(str(row.sha256))
                raise InputError(f"{place} is missing (stimulus {row.id} of {row.source})")
        return table

    @cached_property
    def triplets(self) -> pd.DataFrame:
        """One row a comparison, as `records.Triplet`. Raises InputError where one names no stimulus or triplet."""
        if not self.triplets_path.exists():
            raise InputError(f"{self.root} has no triplets yet; make them with: eyetune distort {self.root}")
        table = tables.read(self.triplets_path, Triplet)
        _check_unique(table, self.triplets_path)
        known = set(self.stimuli["id"])
        for column in ("reference", "a", "b", "expected"):
            wrong = table[~(table[column].isin(known) | table[column].isna())]
            if len(wrong):
                row = wrong.iloc[0]
                raise InputError(f"{self.triplets_path}: triplet {row['id']}: {column} {row[column]} is no stimulus")
        wrong = table[~(table["repeat_of"].isin(table["id"]) | table["repeat_of"].isna())]
        if len(wrong):
            row = wrong.iloc[0]
            raise InputError(f"{self.triplets_path}: {row['id']} repeats {row['repeat_of']}, which is no triplet")
        return table

    def all_judgments(self) -> pd.DataFrame:
        """Every vote, as `records.Judgment`: those in the vote store, and those that only judgments.parquet has.

        The latter are an import's. What the store says of a vote counts.
        """
        stored = read_judgments(self.votes_path, self.triplets) if self.votes_path.exists() else None
        if not self.judgments_path.exists():
            if stored is None:
                raise InputError(f"{self.root} has no votes yet; gather them with: eyetune serve {self.root}")
            return stored
        table = tables.read(self.judgments_path, Judgment)
        _check_unique(table, self.judgments_path)
        unknown = set(table["triplet"]) - set(self.triplets["id"])
        if unknown:
            raise InputError(f"{self.judgments_path}: a vote names triplet {min(unknown)}, not in triplets.parquet")
        if stored is None or stored.empty:
            return table
        others = table[~table["id"].isin(stored["id"])]
        return pd.concat([others, stored], ignore_index=True) if len(others) else stored

    def has_votes(self) -> bool:
        """Whether there is any vote at all; a store that nobody has voted in yet has none."""
        return (self.votes_path.exists() or self.judgments_path.exists()) and not self.all_judgments().empty

    def judgments(self, voters: Voters = "auto") -> tuple[pd.DataFrame, str]:
        """The votes to use, and a sentence that says whose they are. Rejected votes are left out.

        `auto` takes the human votes where there are any, else the simulated ones; the two are mixed only by `all`.
        Raises InputError where there are none.
        """
        table = self.all_judgments()
        table = table[table["rejected"].isna()]
        simulated = table["simulated"].astype(bool)
        count = {"human": int((~simulated).sum()), "simulated": int(simulated.sum())}
        if voters == "auto":
            voters = "human" if count["human"] or not count["simulated"] else "simulated"
        if voters != "all":
            table = table[simulated if voters == "simulated" else ~simulated]
        if table.empty:
            whose = "" if voters == "all" else f"{voters} "
            way = "simulate" if voters == "simulated" else "serve"
            raise InputError(f"{self.root} has no {whose}votes yet; gather them with: eyetune {way} {self.root}")
        sentence = {
            "human": f"{count['human']:,} human votes",
            "simulated": f"{count['simulated']:,} SIMULATED votes, none from a person",
            "all": f"{count['human']:,} human and {count['simulated']:,} SIMULATED votes mixed, as asked",
        }[voters]
        if voters == "human" and count["simulated"]:
            sentence += f" ({count['simulated']:,} simulated votes left out)"
        if voters == "simulated" and count["human"]:
            sentence += f" ({count['human']:,} human votes left out, as asked)"
        return table.reset_index(drop=True), sentence

    def scores(self) -> pd.DataFrame:
        """What metrics say of each triplet, as `records.Score`; empty where nothing was scored yet."""
        return read_scores(self.scores_path)

    def add_image(self, pixels: Pixels) -> str:
        """Store an `(H, W, 3)` uint8 image and return the SHA-256 of its PNG file."""
        data = encode_png(pixels)
        digest = sha256(data)
        self.images.add(digest, data)
        return digest

    def image(self, digest: str) -> Pixels:
        """The `(H, W, 3)` uint8 pixels of the stored image. Raises InputError where it is missing or altered."""
        return decode_rgb(self.images.place(digest), self.image_bytes(digest))

    def image_bytes(self, digest: str) -> bytes:
        """The stored image's PNG file. Raises InputError where it is missing or altered."""
        place = self.images.place(digest)
        try:
            data = self.images.read(digest)
        except FileNotFoundError:
            raise InputError(f"{place} is missing; make it again with: eyetune distort {self.root}") from None
        if sha256(data) != digest:
            raise InputError(
                f"{place} was altered: its SHA-256 is not its name; restore it, or make it again: delete it and run"
                f" eyetune distort {self.root}"
            )
        return data

    def check_images(self) -> None:
        """Read every image and raise InputError for the first whose bytes are not those that its name promises."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for _ in threads.map(lambda digest: len(self.image_bytes(digest)), self.stimuli["sha256"].unique()):
                pass


def read_scores(path: Path) -> pd.DataFrame:
    """The table `scores.parquet`, as `records.Score`; empty where it is not there yet."""
    if not path.exists():
        return tables.frame([], Score)
    table = tables.read(path, Score)
    if table.duplicated(["triplet", "metric"]).any():
        raise InputError(f"{path}: a triplet is scored twice by the same metric")
    return table


def whose(judgments: pd.DataFrame) -> str:
    """human, simulated, or mixed."""
    simulated = judgments["simulated"].astype(bool)
    return "simulated" if simulated.all() else "mixed" if simulated.any() else "human"


def count_votes(judgments: pd.DataFrame, triplets: pd.DataFrame, kind: str = "test") -> pd.DataFrame:
    """The triplets of one kind that have votes, with two more columns: `votes`, and `prefer_b` (how many chose b)."""
    table = triplets[triplets["kind"] == kind]
    votes = judgments.merge(table[["id", "b"]], left_on="triplet", right_on="id", suffixes=("", "_triplet"))
    votes["prefer_b"] = votes["chosen"] == votes["b"]
    counted = votes.groupby("triplet")["prefer_b"].agg(votes="size", prefer_b="sum")
    return table.merge(counted, left_on="id", right_index=True).reset_index(drop=True)


def _check_unique(table: pd.DataFrame, path: Path) -> None:
    twice = table["id"][table["id"].duplicated()]
    if len(twice):
        raise InputError(f"{path}: id {twice.iloc[0]} stands twice")
