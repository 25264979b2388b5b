"""QuestionFormAnswers: what a worker submitted, as MTurk hands it on."""

from xml.etree import ElementTree
from xml.sax.saxutils import escape

from mturk.questions.well_formed import ILLEGAL
from study.errors import InputError

NAMESPACE = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2005-10-01/QuestionFormAnswers.xsd"


class _Tree(ElementTree.TreeBuilder):
    """A tree of elements; a document type declaration, which could define entities, is refused before it is read."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise InputError("an answer with a document type declaration, which MTurk never sends")


def fields(answer_xml: str) -> dict[str, str]:
    """The submitted fields by name. Raises InputError where `answer_xml` is not QuestionFormAnswers of free text."""
    try:
        parser = ElementTree.XMLParser(target=_Tree())
        parser.feed(answer_xml)
        root = parser.close()
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"not the answer of an assignment: {error}") from None
    if root.tag != _name("QuestionFormAnswers"):
        raise InputError(f"not the answer of an assignment: {root.tag!r} where QuestionFormAnswers should be")
    found: dict[str, str] = {}
    for answer in root:
        name = answer.findtext(_name("QuestionIdentifier"))
        value = answer.findtext(_name("FreeText"))
        if answer.tag != _name("Answer") or not name or value is None:
            raise InputError(f"not the answer of an assignment: its field {name!r} is no free text")
        if name in found:
            raise InputError(f"not the answer of an assignment: it has the field {name!r} twice")
        found[name] = value
    return found


def answers_xml(fields: list[tuple[str, str]]) -> str:
    """QuestionFormAnswers of submitted form fields (name, value), in their order.

    Several fields of one name become one, their values joined by "|", as MTurk does with checkboxes. Characters that
    XML cannot hold become U+FFFD: a worker's submission is not lost for them. Fields without a name are left out, as a
    browser leaves them out.
    """
    joined: dict[str, list[str]] = {}
    for name, value in fields:
        if name:
            joined.setdefault(_text(name), []).append(_text(value))
    answers = "".join(
        f"<Answer><QuestionIdentifier>{name}</QuestionIdentifier><FreeText>{'|'.join(values)}</FreeText></Answer>"
        for name, values in joined.items()
    )
    declaration = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{declaration}\n<QuestionFormAnswers xmlns="{NAMESPACE}">{answers}</QuestionFormAnswers>'


def _text(value: str) -> str:
    """`value` as element content; parsers would turn a bare carriage return into a line feed."""
    return escape(ILLEGAL.sub("\ufffd", value), {"\r": "&#13;"})


def _name(tag: str) -> str:
    return f"{{{NAMESPACE}}}{tag}"
