"""Qualification tests: a QuestionForm, and the AnswerKey by which MTurk grades it.

AnswerKey: each Question has AnswerOptions (a set of selections and its score) and perhaps a DefaultScore for any other
answer. The score is the sum, or with QualificationValueMapping what that makes of it: PercentageMapping (percent of a
maximum), ScaleMapping (times a factor) or RangeMapping (by intervals). Source: MTurk's API reference, AnswerKey.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from mturk.server.documents import Element, invalid, parse_xml
from mturk.server.questions import FORMS, QUESTION_BYTES, SCHEMAS

KEY = f"{SCHEMAS}2005-10-01/AnswerKey.xsd"


@dataclass(frozen=True)
class Choice:
    """A question of a test: its text, and what can be chosen (identifier, text); no choices for free text."""

    identifier: str
    text: str
    required: bool
    several: bool
    choices: tuple[tuple[str, str], ...]


def read_test(xml: str) -> list[Choice]:
    """The questions of a QuestionForm, those with text only. Raises RequestError where it is none."""
    root = _document(xml, "QuestionForm", FORMS)
    found = []
    for question in root.every("Question"):
        content, specification = question.child("QuestionContent"), question.child("AnswerSpecification")
        identifier = question.child_text("QuestionIdentifier")
        if not identifier or content is None or specification is None or not specification.children:
            raise invalid("a Question needs QuestionIdentifier, QuestionContent and AnswerSpecification")
        selection = specification.child("SelectionAnswer")
        if selection is None and specification.child("FreeTextAnswer") is None:
            raise invalid(f"question {identifier!r} is answered neither by selection nor by free text")
        found.append(
            Choice(
                identifier,
                " ".join(text.text.strip() for text in content.children if text.text.strip()),
                question.child_text("IsRequired") == "true",
                selection is not None and (selection.child_text("MaxSelectionCount") or "1") != "1",
                _selections(selection) if selection else (),
            )
        )
    if not found:
        raise invalid("a QuestionForm needs a Question")
    return found


def check_key(xml: str, test: list[Choice]) -> None:
    """Raise RequestError where an AnswerKey is not valid, or grades what the test does not ask."""
    root = _document(xml, "AnswerKey", (KEY,))
    asked = {question.identifier for question in test}
    questions = root.every("Question")
    if not questions:
        raise invalid("an AnswerKey needs a Question")
    for question in questions:
        identifier = question.child_text("QuestionIdentifier")
        if identifier not in asked:
            raise invalid(f"the AnswerKey's question {identifier!r} is not in the test")
    _score(root, {})


def grade(xml: str, answers: dict[str, list[str]]) -> int:
    """The qualification's value for the selections given to each question; what no IntegerValue holds is cut off."""
    return max(-(2**31), min(2**31 - 1, _score(parse_xml(xml), answers)))


def _score(key: Element, answers: dict[str, list[str]]) -> int:
    total = sum(_question_score(question, answers) for question in key.every("Question"))
    mapping = key.child("QualificationValueMapping")
    if mapping is None:
        return total
    if percentage := mapping.child("PercentageMapping"):
        most = _integer(percentage, "MaximumSummedScore")
        if most <= 0:
            raise invalid("MaximumSummedScore must be above 0")
        return (200 * total + most) // (2 * most)  # rounded half up
    if scale := mapping.child("ScaleMapping"):
        return int(total * _number(scale, "SummedScoreMultiplier"))
    if ranges := mapping.child("RangeMapping"):
        value = _integer(ranges, "OutOfRangeQualificationValue")
        for interval in ranges.every("SummedScoreRange"):
            low, high = _integer(interval, "InclusiveLowerBound"), _integer(interval, "InclusiveUpperBound")
            inside = _integer(interval, "QualificationValue")
            if low <= total <= high:
                value = inside
        return value
    raise invalid("QualificationValueMapping holds none of PercentageMapping, ScaleMapping, RangeMapping")


def _question_score(question: Element, answers: dict[str, list[str]]) -> int:
    given = set(answers.get(question.child_text("QuestionIdentifier") or "", []))
    score = 0 if question.child("DefaultScore") is None else _integer(question, "DefaultScore")
    for option in question.every("AnswerOption"):
        right = {selection.text.strip() for selection in option.every("SelectionIdentifier")}
        value = _integer(option, "AnswerScore")
        if given == right:
            score = value
    return score


def _selections(selection: Element) -> tuple[tuple[str, str], ...]:
    container = selection.child("Selections")
    found = []
    for item in container.every("Selection") if container else []:
        identifier, text = item.child_text("SelectionIdentifier"), item.child_text("Text")
        if not identifier:
            raise invalid("a Selection needs a SelectionIdentifier")
        found.append((identifier, text or identifier))
    if not found:
        raise invalid("a SelectionAnswer needs Selections")
    return tuple(found)


def _document(xml: str, name: str, namespaces: tuple[str, ...]) -> Element:
    if len(xml.encode("utf-8", "surrogatepass")) > QUESTION_BYTES:
        raise invalid(f"{name} is longer than {QUESTION_BYTES:,} bytes, the most that is allowed")
    root = parse_xml(xml)
    if root.name != name or root.namespace not in namespaces:
        raise invalid(f"{name} of the namespace {namespaces[0]} must be the root")
    return root


def _integer(parent: Element, name: str) -> int:
    return int(_number(parent, name, r"[+-]?[0-9]{1,9}"))


def _number(parent: Element, name: str, form: str = r"[+-]?[0-9]{1,9}(\.[0-9]{0,9})?") -> Fraction:
    text = parent.child_text(name) or ""
    if not re.fullmatch(form, text, re.ASCII):
        raise invalid(f"{parent.name} needs a number {name} of at most nine digits")
    return Fraction(text)
