"""A qualification test (QuestionForm XML) as what a page shows, and a form's fields as its answers.

Texts in a QuestionForm come from strangers. FormattedContent stays HTML: the page that shows it runs no scripts and has
no origin.
"""

from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from mturk.server.documents import Element, parse_xml


@dataclass(frozen=True)
class Content:
    """One piece of content: a title, a text, a list, an image, or HTML."""

    kind: str  # title, text, html, list, image, link
    text: str = ""
    items: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Item:
    """An overview (without `name`) or a question of a test."""

    content: list[Content]
    name: str = ""
    label: str = ""
    required: bool = False
    control: str = ""  # text, radio, checkbox or select
    selections: list[tuple[str, Content]] = field(default_factory=list)  # identifier, what is shown
    default: str = ""
    lines: int = 1
    length: int | None = None  # characters of a text, at most
    most: int | None = None  # selections


def read_form(xml: str) -> list[Item]:
    """What a test shows, in its order. Raises RequestError for what is no XML."""
    items = []
    for element in parse_xml(xml).children:
        if element.name == "Overview":
            items.append(Item(_content(element)))
        elif element.name == "Question":
            items.append(_question(element))
    return items


def answers_of(xml: str, fields: list[tuple[str, str]]) -> dict[str, list[str]]:
    """What was answered to each question of the test; other fields, and what nobody filled in, are left out."""
    given: dict[str, list[str]] = {}
    for item in read_form(xml):
        values = [value for name, value in fields if item.name and name == item.name and value]
        if values:
            given[item.name] = values
    return given


def _question(element: Element) -> Item:
    content = element.child("QuestionContent")
    shown: dict[str, Any] = {
        "content": _content(content) if content else [],
        "name": element.child_text("QuestionIdentifier") or "",
        "label": element.child_text("DisplayName") or "",
        "required": element.child_text("IsRequired") in ("true", "1"),
    }
    specification = element.child("AnswerSpecification")
    answer = specification.children[0] if specification and specification.children else Element("", "", {}, [])
    if answer.name == "SelectionAnswer":
        return Item(**shown, **_selections(answer))
    constraints = answer.child("Constraints")
    length = constraints.child("Length") if constraints else None
    return Item(
        **shown,
        control="text",
        default=answer.child_text("DefaultText") or "",
        lines=min(40, _number(answer.child_text("NumberOfLinesSuggestion")) or 1),
        length=_number(length.attributes.get("maxLength")) if length else None,
    )


def _selections(answer: Element) -> dict[str, Any]:
    most = _number(answer.child_text("MaxSelectionCount")) or 1
    style = answer.child_text("StyleSuggestion")
    if most > 1 or style in ("checkbox", "multichooser"):
        control = "checkbox"
    else:
        control = "select" if style in ("dropdown", "combobox") else "radio"
    offered = answer.child("Selections")
    selections = []
    for selection in offered.children if offered else []:
        identifier = selection.child_text("SelectionIdentifier")
        if identifier:
            shown = [one for one in map(_one, selection.children) if one]
            selections.append((identifier, shown[0] if shown else Content("text", identifier)))
    return {"control": control, "selections": selections, "most": most}


def _content(element: Element) -> list[Content]:
    return [one for one in map(_one, element.children) if one]


def _one(element: Element) -> Content | None:
    if element.name in ("Title", "Text"):
        return Content(element.name.lower(), element.text.strip())
    if element.name == "FormattedContent":
        return Content("html", Markup(element.text))
    if element.name == "List":
        return Content("list", items=[child.text.strip() for child in element.children])
    if element.name == "Binary":
        url, text = element.child_text("DataURL") or "", element.child_text("AltText") or ""
        mime = element.child("MimeType")
        kind = mime.child_text("Type") if mime else None
        if url.startswith(("http://", "https://")):
            return Content("image" if kind in (None, "image") else "link", text or url, [url])
    return None  # Java applets, Flash


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 8 else None
