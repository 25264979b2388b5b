"""Reading a HIT's question: ExternalQuestion and HTMLQuestion."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from mturk.server.documents import Element, invalid, parse_xml
from mturk.server.refusals import RequestError

SCHEMAS = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/"
EXTERNAL = f"{SCHEMAS}2006-07-14/ExternalQuestion.xsd"
HTML = f"{SCHEMAS}2011-11-11/HTMLQuestion.xsd"
FORM = f"{SCHEMAS}2005-10-01/QuestionForm.xsd"
FORMS = (FORM, f"{SCHEMAS}2017-11-06/QuestionForm.xsd")
QUESTION_BYTES = 65_535


@dataclass(frozen=True)
class Question:
    """What is shown to workers: a page's address, or HTML."""

    kind: str  # external or html
    url: str
    html: str
    frame_height: int  # CSS pixels; 0: as high as the window


def read_question(text: str) -> Question:
    """The question in XML. Raises RequestError for what is not valid, and for kinds that this server has not."""
    if len(text.encode("utf-8", "surrogatepass")) > QUESTION_BYTES:
        raise RequestError(
            "XMLParseError", f"The question is longer than {QUESTION_BYTES:,} bytes, the most that is allowed."
        )
    root = parse_xml(text)
    if (root.name, root.namespace) == ("ExternalQuestion", EXTERNAL):
        _only(root, ["ExternalURL", "FrameHeight"])
        url = root.child_text("ExternalURL") or ""
        _check_url(url)
        return Question("external", url, "", _frame_height(root))
    if (root.name, root.namespace) == ("HTMLQuestion", HTML):
        _only(root, ["HTMLContent", "FrameHeight"])
        content = root.child("HTMLContent")
        if content is None or not content.text.strip():
            raise invalid("HTMLContent is empty")
        return Question("html", "", content.text, _frame_height(root))
    if root.name == "QuestionForm" and root.namespace in FORMS:
        raise RequestError(
            "OperationNotSupported", "This server shows ExternalQuestion and HTMLQuestion HITs, not QuestionForm."
        )
    raise invalid(f"Cannot find the declaration of element '{root.name}' in the namespace '{root.namespace}'")


def _only(root: Element, names: list[str]) -> None:
    """As in both schemas: exactly these children, in this order."""
    found = [child.name for child in root.children]
    foreign = [child for child in root.children if child.namespace != root.namespace or child.children]
    if found != names or foreign or root.text.strip():
        raise invalid(f"{root.name} must hold exactly {' and '.join(names)}, but it holds {found}")


def _frame_height(root: Element) -> int:
    text = root.child_text("FrameHeight") or ""
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise invalid(f"FrameHeight is {text!r}, not a whole number of pixels")
    return int(text)


def _check_url(url: str) -> None:
    """HTTPS only, as on MTurk; HTTP besides for pages on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    clean = all(" " < character != "\x7f" for character in url)
    if host and clean and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        return
    raise invalid(f"ExternalURL must be an https address, but it is {url!r}")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
