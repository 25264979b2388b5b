"""What a simulated observer uses in place of a browser: the page's HTTP interface and nothing else."""

import io
import json
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from random import Random
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import numpy as np
from PIL import Image

from study.errors import InputError
from study.folder import Study
from study.images import fingerprint
from study.votes import now
from webapp.observer_model import ObserverModel, Perception, choose

TIMEOUT = 60  # seconds for one answer of the server


def recognition(study: Study) -> dict[str, str]:
    """What each image's pixels are known by, to the SHA-256 of its PNG file."""
    return {fingerprint(study.image(digest)): digest for digest in study.stimuli["sha256"].unique()}


class SimulatedBrowser:
    """One connection to the server at `url`, and eyes that know images by their pixels (see `recognition`)."""

    def __init__(self, url: str, known: dict[str, str]) -> None:
        parts = urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self.connection = kind(str(parts.hostname), parts.port, timeout=TIMEOUT)
        self.url = url
        self.known = known

    def close(self) -> None:
        """Hang up."""
        self.connection.close()

    def join(self, claim: str) -> str | None:
        """The address of a new session, or None where the study needs no more votes."""
        status, location, body = self._request("POST", "join", urlencode({"simulator": claim}))
        if status == 403:
            raise InputError(f"--url {self.url}: that server shows another study (it does not know this one's key)")
        if status != 303 or not location:
            raise InputError(f"--url {self.url}: no eyetune server answers there (status {status})")
        return None if location.endswith("complete") else location

    def vote_all(self, address: str, model: ObserverModel, perception: Perception) -> int:
        """Answer the session's trials to the end; returns how many votes were given."""
        votes = 0
        while trials := self._json("GET", f"{address}/next")["trials"]:
            trial = trials[0]
            shown_at = now()
            reference, left, right = (self._look(address, trial[role]) for role in ("reference", "left", "right"))
            loaded_at = now()
            part = "practice" if trial["practice"] else "trial"
            random = Random(f"{model.seed}/{model.observer}/{part}/{trial['position']}")
            side = choose(model, perception.distances[reference, left], perception.distances[reference, right], random)
            vote = {
                "trial": trial["id"],
                "side": side,
                "protocol": trial["protocol"],
                "shown_at": shown_at,
                "loaded_at": loaded_at,
                "answered_at": now(),
                "flips": 0,
                "zoom": trial["zoom"],
                "screen_width": None,
                "screen_height": None,
                "pixel_ratio": None,
            }
            self._json("POST", f"{address}/vote", json.dumps(vote))
            votes += 1
        return votes

    def _look(self, address: str, image: str) -> str:
        status, _, data = self._request("GET", urljoin(address, image))
        if status != 200:
            raise InputError(f"{self.url}: an image could not be loaded (status {status})")
        with Image.open(io.BytesIO(data)) as picture:
            pixels = np.array(picture)
        try:
            return self.known[fingerprint(pixels)]
        except KeyError:
            raise InputError(f"{self.url}: shows an image that is not in the study; is it another study?") from None

    def _json(self, method: str, address: str, body: str | None = None) -> Any:
        status, _, data = self._request(method, address, body)
        try:
            answer = json.loads(data)
        except ValueError:
            raise InputError(f"{self.url}: not the answer of an eyetune server (status {status})") from None
        if status != 200:
            raise InputError(f"{self.url}: {answer.get('error', status)}")
        return answer

    def _request(self, method: str, address: str, body: str | None = None) -> tuple[int, str | None, bytes]:
        kind = "application/json" if address.endswith("/vote") else "application/x-www-form-urlencoded"
        try:
            self.connection.request(method, urlsplit(urljoin(self.url, address)).path, body, {"Content-Type": kind})
            response = self.connection.getresponse()
            status, location, data = response.status, response.getheader("Location"), response.read()
        except (OSError, HTTPException) as error:
            raise InputError(f"{self.url}: the server does not answer ({error})") from None
        if status in (503, 507):
            raise InputError(f"{self.url}: the server cannot store votes (is its disk full?); those before are stored")
        return status, location, data
