"""Reading a HIT's question: ExternalQuestion and HTMLQuestion."""

import ipaddress
import xml.parsers.expat
from dataclasses import dataclass
from urllib.parse import urlsplit

from mturk.server.refusals import RequestError

SCHEMAS = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/"
EXTERNAL = f"{SCHEMAS}2006-07-14/ExternalQuestion.xsd"
HTML = f"{SCHEMAS}2011-11-11/HTMLQuestion.xsd"
FORM = f"{SCHEMAS}2005-10-01/QuestionForm.xsd"
FORMS = (FORM, f"{SCHEMAS}2017-11-06/QuestionForm.xsd")
QUESTION_BYTES = 65_535
MOST_DEPTH = 64

_SEPARATOR = " "  # between namespace and name; no namespace contains one


@dataclass
class Element:
    """One element of an XML document: its namespace and name, what it holds."""

    namespace: str
    name: str
    attributes: dict[str, str]
    children: "list[Element]"
    text: str = ""

    def child(self, name: str) -> "Element | None":
        """The first child of that name."""
        return next((child for child in self.children if child.name == name), None)

    def child_text(self, name: str) -> str | None:
        """The trimmed text of the first child of that name; None where there is none."""
        child = self.child(name)
        return None if child is None else child.text.strip()


@dataclass(frozen=True)
class Question:
    """What is shown to workers: a page's address, or HTML."""

    kind: str  # external or html
    url: str
    html: str
    frame_height: int  # CSS pixels; 0: as high as the window


def parse_xml(text: str) -> Element:
    """The root of an XML document. Raises RequestError where it is no well-formed one, or has a DTD.

    Without a DTD there are no entities but XML's own five, so nothing expands and nothing is read from elsewhere.
    """
    root = Element("", "", {}, [])
    open_elements = [root]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(open_elements) > MOST_DEPTH:
            raise _invalid(f"more than {MOST_DEPTH} elements in each other")
        namespace, _, local = name.rpartition(_SEPARATOR)
        element = Element(namespace, local, attributes, [])
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_: str) -> None:
        open_elements.pop()

    def characters(data: str) -> None:
        open_elements[-1].text += data

    def doctype(*_: object) -> None:
        raise _invalid("a DOCTYPE is not allowed")

    # UTF-8, whatever encoding the declaration names: the text came decoded, in JSON.
    parser = xml.parsers.expat.ParserCreate("utf-8", _SEPARATOR)
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(text.encode(), True)
    except (xml.parsers.expat.ExpatError, UnicodeEncodeError) as error:
        raise _invalid(str(error)) from None
    return root.children[0]


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
            raise _invalid("HTMLContent is empty")
        return Question("html", "", content.text, _frame_height(root))
    if root.name == "QuestionForm" and root.namespace in FORMS:
        raise RequestError(
            "OperationNotSupported", "This server shows ExternalQuestion and HTMLQuestion HITs, not QuestionForm."
        )
    raise _invalid(f"Cannot find the declaration of element '{root.name}' in the namespace '{root.namespace}'")


def _only(root: Element, names: list[str]) -> None:
    """As in both schemas: exactly these children, in this order."""
    found = [child.name for child in root.children]
    foreign = [child for child in root.children if child.namespace != root.namespace or child.children]
    if found != names or foreign or root.text.strip():
        raise _invalid(f"{root.name} must hold exactly {' and '.join(names)}, but it holds {found}")


def _frame_height(root: Element) -> int:
    text = root.child_text("FrameHeight") or ""
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise _invalid(f"FrameHeight is {text!r}, not a whole number of pixels")
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
    raise _invalid(f"ExternalURL must be an https address, but it is {url!r}")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _invalid(details: str) -> RequestError:
    return RequestError(
        "XMLParseError",
        "There was an error parsing the XML question or answer data in your request. Please make sure the data is"
        f" well-formed and validates against the appropriate schema. Details: {details}",
    )
