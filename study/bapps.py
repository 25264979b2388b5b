"""BAPPS folders (`ref/ p0/ p1/ judge/`, Zhang et al. 2018) to studies and back."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from study import tables
from study.errors import InputError
from study.files import sha256, write_bytes, write_text
from study.folder import Study, Voters, count_votes
from study.images import decode_rgb, encode_png
from study.records import Judgment, Stimulus, Triplet
from study.settings import parse_settings, write_settings
from study.votes import now

PARTS = ("ref", "p0", "p1", "judge")
VOTES = (2, 5)  # votes a triplet in BAPPS's training and validation parts
WHOLE = 0.02  # how far a share times its votes may be from a whole number: shares are often kept with two digits


def import_bapps(folder: Path, root: Path, seed: int = 1) -> int:
    """Make a study at `root` from a BAPPS folder, or from a folder of them (`traditional/`, `cnn/`, ...).

    `judge/NAME.npy` holds the share of observers who chose p1. How many there were stands in `votes.csv` where eyetune
    wrote the folder; else it is the smaller of 2 and 5 with which every share is a whole number of votes. BAPPS names
    no observers: each vote gets one of its own.
    """
    parts = [part for part in [folder, *sorted(folder.glob("*"))] if all((part / name).is_dir() for name in PARTS)]
    if not parts:
        raise InputError(f"--bapps {folder}: no folder with {', '.join(PARTS)} in it")
    if root.exists() and any(root.iterdir()):
        raise InputError(f"{root} is not empty; import into a new folder")
    settings = parse_settings({"name": folder.resolve().name, "seed": seed}, "eyetune new")
    aside = root.resolve().with_name(f".{root.resolve().name}.importing")  # a study is there wholly or not at all
    shutil.rmtree(aside, ignore_errors=True)
    write_settings(settings, aside / "study.toml")
    study = Study(aside)
    stimuli: dict[str, Stimulus] = {}
    triplets: list[Triplet] = []
    judgments: list[Judgment] = []
    for part in parts:
        files = sorted((part / "ref").glob("*.png"))
        names = [path.stem for path in files]
        shares = np.array([read_share(part / "judge" / f"{name}.npy") for name in names])
        votes = votes_of(part, names, shares)
        rows = zip(tqdm(files, desc=part.name, unit="triplet"), shares, votes, strict=True)
        for path, share, (count, simulator) in rows:
            reference = _add(study, stimuli, path, None)
            p0 = _add(study, stimuli, part / "p0" / path.name, reference)
            p1 = _add(study, stimuli, part / "p1" / path.name, reference)
            identity = sha256(f"{part.name}/{path.name}".encode())[:16]
            triplet = Triplet(identity, reference.id, p0.id, p1.id, "test", part.name, None, None)
            triplets.append(triplet)
            judgments += _judgments(triplet, round(share * count), count, simulator)
    tables.write(tables.frame(stimuli.values(), Stimulus), study.stimuli_path, Stimulus)
    tables.write(tables.frame(triplets, Triplet), study.triplets_path, Triplet)
    tables.write(tables.frame(judgments, Judgment), study.judgments_path, Judgment)
    if root.exists():
        root.rmdir()
    aside.rename(root)
    print(f"{root}: {len(triplets):,} triplets and {len(judgments):,} votes imported from {folder}")
    return 0


def export_bapps(study: Study, folder: Path, voters: Voters = "auto") -> str:
    """Write the study's voted test triplets as a BAPPS folder; returns the sentence that says whose votes they are.

    `votes.csv` beside the four folders keeps what `judge/` loses: triplet ids, counts, and who simulated the votes.
    Raises InputError for human and simulated votes together, which one share could not keep apart.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; export to a new folder")
    judgments, sentence = study.judgments(voters)
    if judgments["simulated"].nunique() > 1:
        raise InputError("a BAPPS folder cannot keep human and simulated votes apart; export one of them with --voters")
    metrics = {json.loads(model).get("metric", "unknown") for model in judgments["simulator"].dropna().unique()}
    simulator = json.dumps({"metric": " and ".join(sorted(metrics))}) if judgments["simulated"].any() else ""
    counted = count_votes(judgments, study.triplets)
    digests = study.stimuli.set_index("id")["sha256"]
    listing = io.StringIO()
    rows = csv.writer(listing)
    rows.writerow(["name", "triplet", "votes", "prefer_p1", "simulator"])
    for index, row in enumerate(tqdm(counted.itertuples(), total=len(counted), unit="triplet", desc="exporting")):
        name = f"{index:06d}"
        for part, stimulus in (("ref", row.reference), ("p0", row.a), ("p1", row.b)):
            write_bytes(folder / part / f"{name}.png", study.image_bytes(digests[stimulus]), durable=False)
        judge = io.BytesIO()
        np.save(judge, np.array([int(row.prefer_b) / int(row.votes)]))
        write_bytes(folder / "judge" / f"{name}.npy", judge.getvalue(), durable=False)
        rows.writerow([name, row.id, row.votes, row.prefer_b, simulator])
    write_text(folder / "votes.csv", listing.getvalue())
    return sentence


def _add(study: Study, stimuli: dict[str, Stimulus], path: Path, reference: Stimulus | None) -> Stimulus:
    pixels = decode_rgb(path)
    height, width = pixels.shape[:2]
    digest = sha256(encode_png(pixels))
    source = reference.source if reference else f"bapps-{digest[:16]}"
    codec = "unknown" if reference else "reference"
    settings = {"file": f"{path.parent.parent.name}/{path.parent.name}/{path.name}"} if reference else {}
    identity = sha256(f"{source} {codec} {path.parent.name} {digest}".encode())[:16]  # p0 and p1 may be equal
    if identity not in stimuli:
        if reference and (reference.width, reference.height) != (width, height):
            raise InputError(f"{path}: {width} x {height} pixels, its reference {reference.width} x {reference.height}")
        study.add_image(pixels)
        stimuli[identity] = Stimulus(
            identity, digest, source, 0, 0, width, height, codec, json.dumps(settings), None, None, None
        )
    return stimuli[identity]


def read_share(path: Path) -> float:
    """The share in a file of `judge/` or `same/`: one number from 0 to 1. Raises InputError."""
    try:
        value = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not a readable .npy file ({error})") from None
    if value.size != 1 or not 0 <= float(value.ravel()[0]) <= 1:
        raise InputError(f"{path}: expected one number from 0 to 1, the share of observers who said so")
    return float(value.ravel()[0])


def votes_of(
    part: Path, names: list[str], shares: np.ndarray, usual: tuple[int, ...] = VOTES, answers: str = "judge"
) -> list[tuple[int, str | None]]:
    """Each triplet's number of votes, and who simulated them: as `export_bapps` wrote, else as the shares tell.

    That is the first of `usual` of which every share is a whole number of votes. `answers` is the shares' folder.
    Raises InputError.
    """
    listing = part / "votes.csv"
    if listing.exists():
        counts = _read_counts(listing)
        for name, share in zip(names, shares, strict=True):
            if name not in counts:
                raise InputError(f"{listing}: no row for {name}")
            if abs(share * counts[name][0] - round(share * counts[name][0])) > WHOLE:
                raise InputError(
                    f"{listing}: {name}: {share:g} of {counts[name][0]} votes is not a whole number of them"
                )
        return [counts[name] for name in names]
    for votes in usual:
        if (np.abs(shares * votes - np.round(shares * votes)) <= WHOLE).all():
            return [(votes, None)] * len(names)
    neither = " nor ".join(f"1/{votes}" for votes in usual)
    raise InputError(f"{part / answers}: shares are multiples of neither {neither}, as BAPPS's are; write votes.csv")


def _read_counts(listing: Path) -> dict[str, tuple[int, str | None]]:
    with listing.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        absent = {"name", "votes"} - set(rows.fieldnames or ())
        if absent:
            raise InputError(f"{listing}: no column {', '.join(sorted(absent))}; there must be name and votes")
        counts = {}
        for row in rows:
            if not (row["votes"] or "").isdecimal() or int(row["votes"]) < 1:
                raise InputError(f"{listing}: {row['name']}: votes {row['votes']} is not a whole number of 1 or more")
            counts[row["name"]] = (int(row["votes"]), row.get("simulator") or None)
    return counts


def _judgments(triplet: Triplet, prefer_p1: int, votes: int, simulator: str | None) -> list[Judgment]:
    time = now()
    return [
        Judgment(
            id=f"{triplet.id}-{k}", triplet=triplet.id, observer=f"bapps-{triplet.id}-{k}",
            chosen=triplet.b if k < prefer_p1 else triplet.a, side="right" if k < prefer_p1 else "left", position=0,
            protocol="unknown", shown_at=None, loaded_at=None, answered_at=None, received_at=time, flips=0, zoom=1.0,
            screen_width=None, screen_height=None, pixel_ratio=None, simulated=bool(simulator), simulator=simulator,
            rejected=None,
        )
        for k in range(votes)
    ]  # fmt: skip
