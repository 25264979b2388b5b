"""Whoever sees everything but the pixels learns nothing about a codec."""

import io
import json
import zlib
from http.client import HTTPConnection
from urllib.parse import urljoin, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joining import FORM, ticket, ticket_body
from PIL import Image

from study.blind_images import CHUNK, pad_png, padded_length, uncompressed_png
from study.images import encode_png
from study.votes import connect
from webapp.app import create_app
from webapp.serve import serving

VOTE = {
    "side": "left", "protocol": "flip", "shown_at": "2026-05-01T12:00:00Z", "loaded_at": "2026-05-01T12:00:00Z",
    "answered_at": "2026-05-01T12:00:00Z", "flips": 0, "zoom": 1, "screen_width": 9, "screen_height": 9,
    "pixel_ratio": 1,
}  # fmt: skip


@pytest.fixture
def study(make_study):
    return make_study()


def whole_session(study) -> tuple[list[dict], list[tuple], list[str], list[bytes]]:
    """Trials, image responses as (status, headers, length), all text, and the images' bytes, through a real server."""
    trials, responses, texts, images = [], [], [], []
    with serving(create_app(study), study) as url:
        connection = HTTPConnection(urlsplit(url).netloc, timeout=60)

        def ask(method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response, response.read()

        response, text = ask("GET", "/")
        texts.append(text.decode())
        address = "/" + ask("POST", "/join", ticket_body(study), FORM)[0].getheader("Location")
        texts.append(ask("GET", address)[1].decode())
        while True:
            text = ask("GET", f"{address}/next")[1].decode()
            texts.append(text)
            if not (upcoming := json.loads(text)["trials"]):
                break
            trials.append(upcoming[0])
            for role in ("reference", "left", "right"):
                response, data = ask("GET", urljoin(address, upcoming[0][role]))
                headers = tuple(sorted((k, v) for k, v in response.getheaders() if k != "Date"))
                responses.append((response.status, headers, len(data)))
                images.append(data)
            vote = json.dumps(VOTE | {"trial": upcoming[0]["id"]})
            texts.append(ask("POST", f"{address}/vote", vote)[1].decode())
        connection.close()
    return trials, responses, texts, images


def chunks(png: bytes) -> list[tuple[bytes, int]]:
    """Kind and length of each chunk, their CRCs checked."""
    at, found = 8, []
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert int.from_bytes(png[at + 8 + length : at + 12 + length], "big") == zlib.crc32(kind + body)
        found.append((kind, length))
        at += CHUNK + length
    return found


def test_image_responses_differ_in_pixels_alone(study):
    """One status, one set of headers, one length for every image of the study."""
    trials, responses, _, images = whole_session(study)
    assert len(trials) == 8 and len(responses) == 24
    assert len(set(responses)) == 1
    names = {name.lower() for name, _ in responses[0][1]}
    assert not names & {"etag", "last-modified", "content-disposition", "accept-ranges", "set-cookie"}
    assert dict(responses[0][1])["Cache-Control"] == "no-store"
    assert {tuple(sorted(Image.open(io.BytesIO(data)).info)) for data in images} == {()}
    assert {Image.open(io.BytesIO(data)).size for data in images} == {(64, 64)}
    assert len({tuple(chunks(data)) for data in images}) == 1


def test_no_text_names_what_is_shown(study):
    """No stimulus id, hash, triplet id, codec, photograph or kind of trial in any page or answer."""
    _, _, texts, _ = whole_session(study)
    secret = {*study.stimuli["id"], *study.stimuli["sha256"], *study.triplets["id"], *study.stimuli["source"]}
    secret |= {
        "jpeg",
        "webp",
        "codec",
        "sentinel",
        "repeat",
        "obvious",
        "stimul",
        "triplet",
        "expected",
        study.root.name,
    }
    for text in texts:
        assert not [word for word in secret if word in text.lower()]


def test_kinds_of_trials_look_alike(study):
    """A sentinel or a repeat differs from a test in its random addresses and its position alone; practice is told."""
    trials, *_ = whole_session(study)
    with connect(study.votes_path) as store:
        kinds = dict(tuple(row) for row in store.execute("SELECT id, kind FROM trials"))
    assert {kinds[trial["id"]] for trial in trials} == {"training", "test", "sentinel", "repeat"}
    shapes = {}
    for trial in trials:
        lengths = {name: len(trial[name]) for name in ("id", "reference", "left", "right")}
        shapes[kinds[trial["id"]]] = json.dumps(trial | lengths | {"position": None})
    assert shapes["test"] == shapes["sentinel"] == shapes["repeat"] != shapes["training"]
    assert [trial["position"] for trial in trials] == [1, *range(1, 8)]
    addresses = [trial[role] for trial in trials for role in ("reference", "left", "right")]
    assert len(set(addresses)) == 24


def test_the_same_stimulus_is_never_the_same_bytes_twice(study):
    """The filling is random, so that two observers cannot find each other's stimuli by a hash of the file."""
    client = create_app(study).test_client()
    address = "/" + client.post("/join", data=ticket(study)).headers["Location"]
    image = urljoin(address, client.get(f"{address}/next").json["trials"][0]["left"])
    assert client.get(image).data != client.get(image).data


def test_every_response_keeps_the_address_to_itself(study):
    """The address is the key to a session: no referrer, nothing from elsewhere. Recruiters may frame the page."""
    client = create_app(study).test_client()
    address = "/" + client.post("/join", data=ticket(study)).headers["Location"]
    for path in ("/", address, f"{address}/next", "/static/session.js", "/nothing"):
        with client.get(path) as response:
            headers = response.headers
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"] == "default-src 'self'; form-action 'self'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "X-Frame-Options" not in headers
    page = client.get(address).text
    assert "style=" not in page and "<script>" not in page and "http" not in page


@pytest.mark.parametrize("extra", [0, 1, 5000])
def test_a_padded_png_is_the_same_picture(extra):
    """The length is as asked, each chunk's CRC is right, the pixels are untouched."""
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    data = encode_png(pixels)
    padded = pad_png(data, len(data) + CHUNK + extra)
    assert len(padded) == len(data) + CHUNK + extra
    kinds = [kind for kind, _ in chunks(padded)]
    assert kinds[0] == b"IHDR" and kinds[-2:] == [b"eyPd", b"IEND"]
    assert (np.array(Image.open(io.BytesIO(padded))) == pixels).all()


def test_the_padded_length_holds_the_largest_image():
    """30 x 20 pixels of 3 bytes need 1,820 with their rows' filter bytes, and less than 100 around them."""
    assert padded_length([(1, 1), (30, 20)]) == 4096
    assert padded_length([(30, 20), (30, 60)]) == 8192
    noise = np.random.default_rng(1).integers(0, 256, (60, 30, 3), dtype=np.uint8)
    assert len(pad_png(uncompressed_png(noise), 8192)) == 8192


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**31))
def test_what_is_in_an_image_does_not_change_its_chunks(width, height, seed):
    """Flat or noisy, every image of a size has the same chunks of the same lengths: no compressed length is left."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    flat, busy = chunks(uncompressed_png(noise * 0)), chunks(uncompressed_png(noise))
    assert flat == busy
    assert (np.array(Image.open(io.BytesIO(uncompressed_png(noise)))) == noise).all()
