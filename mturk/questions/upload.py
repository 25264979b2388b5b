"""A form's images and list of trials, written to where browsers read them.

A browser learns of a trial what the voting page tells: an opaque id and three random addresses. All images are as long
as each other, and nothing says of which codec one is, or whether a trial is a sentinel or a repeat. Of practice trials
alone the right answer is told, for the feedback.
"""

import hashlib
import hmac
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mturk.questions.places import Place
from study.blind_images import pad_png, padded_length, uncompressed_png
from study.errors import InputError
from study.folder import Study
from study.sessions import trials_of
from study.tokens import secret_key
from study.votes import connect

AT_ONCE = 8  # requests
FOREVER = "max-age=31536000, immutable"  # an image's name is never used again
FRESH = "no-cache"  # signed addresses in the list are renewed


def publish_session(study: Study, observer: str, place: Place) -> str:
    """The address of the session's script, which lists its trials; images that are there already stay.

    Published again, addresses that are signed are signed anew. Raises InputError for an unknown observer, an altered
    image, and where the place refuses.
    """
    with connect(study.votes_path) as connection:
        trials = trials_of(connection, observer)
    if not trials:
        raise InputError(f"{study.votes_path}: observer {observer} has no trials")
    stimuli = study.stimuli.set_index("id")
    triplets = study.triplets.set_index("id")
    length = padded_length(zip(stimuli["width"], stimuli["height"], strict=True))

    images: dict[str, str] = {}  # name to stimulus
    listed: list[dict[str, Any]] = []
    practice = sum(trial["kind"] == "training" for trial in trials)
    for index, trial in enumerate(trials):
        triplet = triplets.loc[trial["triplet"]]
        left, right = (triplet.a, triplet.b) if trial["left_is"] == "a" else (triplet.b, triplet.a)
        roles = {"reference": triplet.reference, "left": left, "right": right}
        names = {role: f"{trial[f'{role}_key']}.png" for role in roles}
        images |= {names[role]: roles[role] for role in roles}
        listed.append(_describe(study, trial, index, practice, len(trials)))
        listed[-1] |= {role: place.address(name) for role, name in names.items()}
        listed[-1] |= {
            "width": int(stimuli.width[roles["reference"]]),
            "height": int(stimuli.height[roles["reference"]]),
        }
        if trial["kind"] == "training" and triplet.expected is not None:
            listed[-1]["correct"] = "left" if triplet.expected == left else "right"

    def write(name: str) -> None:
        if not place.holds(name, length):
            data = uncompressed_png(study.image(str(stimuli.sha256[images[name]])))
            place.write(name, pad_png(data, length), "image/png", FOREVER)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(write, images):
            pass
    script = f"sessions/{_name(study, observer)}.js"
    text = f"globalThis.eyetuneTrials = {json.dumps(listed, separators=(',', ':'))};\n"
    place.write(script, text.encode("ascii"), "text/javascript", FRESH)
    return place.address(script)


def _describe(study: Study, trial: sqlite3.Row, index: int, practice: int, total: int) -> dict[str, Any]:
    """What is the same as on the voting page (webapp/api.py): practice comes first and is counted apart."""
    page = study.settings.page
    in_practice = index < practice
    return {
        "id": trial["id"],
        "practice": in_practice,
        "position": (index if in_practice else index - practice) + 1,
        "total": practice if in_practice else total - practice,
        "question": page.question,
        "protocol": page.protocol,
        "zoom": page.zoom,
    }


def _name(study: Study, observer: str) -> str:
    """A name that nobody can guess and that is the same each time the session is published."""
    return hmac.new(secret_key(study).encode(), f"form session {observer}".encode(), hashlib.sha256).hexdigest()[:32]
