"""An ExternalQuestion: MTurk shows a page of ours in a frame."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from mturk.questions.well_formed import check_height, check_size
from study.errors import InputError

NAMESPACE = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2006-07-14/ExternalQuestion.xsd"

URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")  # RFC 3986, 2


def external_question(url: str, frame_height: int) -> str:
    """The XML of an ExternalQuestion that shows `url`.

    `frame_height` in CSS pixels, 0 for the window's. Raises InputError where a browser on MTurk's pages could not show
    the address (see `check_address`), and where the XML has more than 65,535 bytes.
    """
    check_address(url, "hits.url")
    check_height(frame_height)
    xml = (
        f'<ExternalQuestion xmlns="{NAMESPACE}"><ExternalURL>{escape(url)}</ExternalURL>'
        f"<FrameHeight>{frame_height}</FrameHeight></ExternalQuestion>"
    )
    return check_size(xml, "hits.url", "give a shorter address")


def check_address(url: str, what: str) -> None:
    """Raise InputError where `url` cannot be shown within a page of MTurk's; `what` it is begins the message.

    Pages served by https show nothing that comes by http, but from this machine itself (loopback), for rehearsals.
    """
    wrong = re.sub(URL_CHARACTERS, "", url)
    if not url:
        raise InputError(f"{what}: an address is needed, for example https://lab.example/study/")
    if wrong:
        raise InputError(f"{what} = {url!r}: {wrong[0]!r} cannot stand in an address; percent-encode it")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise InputError(f"{what} = {url!r}: not an address ({error})") from None
    if "@" in parts.netloc:
        raise InputError(f"{what}: an address with a name or password in it would show them to every worker")
    if "#" in url:
        raise InputError(f"{what} = {url!r}: no '#...' please: MTurk appends its parameters at the end")
    if parts.scheme not in ("https", "http") or not host:
        raise InputError(f"{what} = {url!r}: not an address like https://lab.example/study/")
    if parts.scheme == "http" and not is_loopback(host):
        raise InputError(f"{what} = {url!r}: MTurk shows https:// only; http:// is for this machine (127.0.0.1)")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine: localhost, 127.0.0.0/8 or ::1."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
