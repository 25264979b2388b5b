"""What the server knows of the study: read and checked once, when it starts."""

from dataclasses import dataclass

from flask import Flask, current_app

from study.blind_images import padded_length
from study.design.chosen import Comparisons
from study.errors import InputError
from study.folder import Study
from study.records import Triplet
from study.sessions import comparisons_to_choose
from study.tokens import secret_key


@dataclass(frozen=True)
class Material:
    """A study in the shape that answers requests quickly."""

    study: Study
    key: str
    """The study's secret key."""
    triplets: dict[str, Triplet]
    """By id."""
    comparisons: Comparisons | None
    """For active choice."""
    digests: dict[str, str]
    """Stimulus id to the SHA-256 of its PNG file."""
    sizes: dict[str, tuple[int, int]]
    """Stimulus id to width and height in pixels."""
    image_bytes: int
    """The length of every image response."""


def read_material(study: Study) -> Material:
    """The study's material. Raises InputError for altered images and where no session could be had or passed."""
    triplets = {str(row["id"]): Triplet(**row) for row in study.triplets.to_dict("records")}
    if not any(triplet.kind == "test" for triplet in triplets.values()):
        raise InputError(f"{study.triplets_path}: no test triplets; make some with: eyetune distort {study.root}")
    needed = study.settings.recruiting.practice_right
    practice = sum(triplet.kind == "training" for triplet in triplets.values())
    practice = min(practice, study.settings.session.practice)
    if needed > practice:
        raise InputError(
            f"{study.settings_path}: recruiting.practice_right = {needed}: a session has {practice} practice"
            " comparisons, so everybody would be screened out; lower it, or raise session.practice"
        )
    study.check_images()
    stimuli = study.stimuli
    return Material(
        study=study,
        key=secret_key(study),
        triplets=triplets,
        comparisons=comparisons_to_choose(list(triplets.values()), stimuli, study.settings.session),
        digests=dict(zip(stimuli["id"], stimuli["sha256"], strict=True)),
        sizes={row.id: (int(row.width), int(row.height)) for row in stimuli.itertuples()},
        image_bytes=padded_length(zip(stimuli["width"], stimuli["height"], strict=True)),
    )


def attach(app: Flask, material: Material) -> None:
    """Make `material` the app's."""
    app.extensions["material"] = material


def material() -> Material:
    """The material of the app that answers this request."""
    found = current_app.extensions["material"]
    assert isinstance(found, Material)
    return found
