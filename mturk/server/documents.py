"""XML documents that came from outside, read without entities, DTDs or anything from elsewhere."""

import xml.parsers.expat
from dataclasses import dataclass

from mturk.server.refusals import RequestError

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

    def every(self, name: str) -> "list[Element]":
        """The children of that name."""
        return [child for child in self.children if child.name == name]


def parse_xml(text: str) -> Element:
    """The root of an XML document. Raises RequestError where it is no well-formed one, or has a DTD.

    Without a DTD there are no entities but XML's own five, so nothing expands and nothing is read from elsewhere.
    """
    root = Element("", "", {}, [])
    open_elements = [root]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(open_elements) > MOST_DEPTH:
            raise invalid(f"more than {MOST_DEPTH} elements in each other")
        namespace, _, local = name.rpartition(_SEPARATOR)
        element = Element(namespace, local, attributes, [])
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_: str) -> None:
        open_elements.pop()

    def characters(data: str) -> None:
        open_elements[-1].text += data

    def doctype(*_: object) -> None:
        raise invalid("a DOCTYPE is not allowed")

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
        raise invalid(str(error)) from None
    return root.children[0]


def invalid(details: str) -> RequestError:
    """The error for XML that is not what it should be."""
    return RequestError(
        "XMLParseError",
        "There was an error parsing the XML question or answer data in your request. Please make sure the data is"
        f" well-formed and validates against the appropriate schema. Details: {details}",
    )
