"""The XML of both questions and of answers: valid by the schemas, whatever is in the fields, and read back equal."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mturk.questions import answers, external, form
from mturk.questions.answers import answers_xml, fields
from mturk.questions.external import external_question
from mturk.questions.form import html_question
from study.errors import InputError

SCHEMAS = Path(answers.__file__).parent / "schemas"
EXTERNAL, HTML, ANSWERS = (
    xmlschema.XMLSchema(SCHEMAS / f"{name}.xsd") for name in ("ExternalQuestion", "HTMLQuestion", "QuestionFormAnswers")
)
HOSTILE = ["", "]]>", "]]>]]>b]]", "<b>&amp;</b>", "\"'", "\0", "\x0b", "\ufffe", "\ud800", "😀", "\u202eאב", "\r\n\r"]
TEXTS = st.text(st.characters()) | st.lists(st.sampled_from(HOSTILE)).map("".join)  # st.characters(): surrogates too
URL = "https://lab.example/study/"


def allowed(text: str) -> bool:
    """Whether XML 1.0 can hold `text`, by the words of its production Char."""
    return all(
        c in "\t\n\r" or 0x20 <= ord(c) <= 0xD7FF or 0xE000 <= ord(c) <= 0xFFFD or 0x10000 <= ord(c) for c in text
    )


def parsed(xml: str, namespace: str, tag: str) -> str:
    return ElementTree.fromstring(xml).findtext(f"{{{namespace}}}{tag}") or ""


@given(TEXTS)
@example("x]]>y")
@example("]]]]>>")
def test_any_page_stands_whole_in_a_valid_html_question_or_is_refused(html):
    """Read back it is the page that an HTML parser sees: line ends are the only thing that XML changes."""
    if not allowed(html):
        with pytest.raises(InputError, match=r"U\+[0-9A-F]{4,} in line \d+ .*cannot stand in XML"):
            html_question(html, 0)
        return
    xml = html_question(html, 0)
    HTML.validate(xml)
    assert parsed(xml, form.NAMESPACE, "HTMLContent") == html.replace("\r\n", "\n").replace("\r", "\n")


@given(st.text("abz09-._~/?[]@!$&'()*+,;=%:") | st.sampled_from(["?a=1&b=%3C%3E&c=']]&amp;", "a/b;c='d'"]))
def test_any_address_stands_whole_in_a_valid_external_question(rest):
    url = URL + rest
    xml = external_question(url, 800)
    EXTERNAL.validate(xml)
    assert parsed(xml, external.NAMESPACE, "ExternalURL") == url
    assert parsed(xml, external.NAMESPACE, "FrameHeight") == "800"


@given(TEXTS)
def test_an_address_is_taken_or_refused_in_one_line(rest):
    try:
        xml = external_question(URL + rest, 0)
    except InputError as error:
        assert "hits.url" in str(error) and "\n" not in str(error)
        str(error).encode()  # can be printed
    else:
        EXTERNAL.validate(xml)
        assert parsed(xml, external.NAMESPACE, "ExternalURL") == URL + rest


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is needed"),
        ("lab.example/study", "not an address like"),
        ("http://lab.example/", "https:// only"),
        ("http://127.0.0.1.example/", "https:// only"),
        ("ftp://lab.example/", "not an address like"),
        ("javascript:alert(1)", "not an address like"),
        ("https://", "not an address like"),
        ("https://lab.example:99999/", "not an address"),
        ("https://[::1/", "not an address"),
        ("https://me:secret@lab.example/", "name or password"),
        ("https://lab.example/#top", "no '#...'"),
        ("https://lab.example/a b", "percent-encode"),
        ("https://läb.example/", "percent-encode"),
        ('https://lab.example/"><script>', "percent-encode"),
    ],
)
def test_addresses_that_no_worker_could_open_are_refused(url, said):
    with pytest.raises(InputError, match=said) as refusal:
        external_question(url, 0)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/", "http://localhost/", "http://[::1]:8000/", "http://127.9.9.9/"]
)
def test_this_machine_may_be_shown_without_https(url):
    EXTERNAL.validate(external_question(url, 0))


@pytest.mark.parametrize("height", [-1, 20_001, 1.5, True, "0"])
def test_a_frame_height_that_is_none_is_refused(height):
    for question in (lambda: external_question(URL, height), lambda: html_question("<p>", height)):
        with pytest.raises(InputError, match="frame_height"):
            question()


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
def test_a_question_may_have_65535_bytes_and_not_one_more(letter):
    """Counted in bytes of UTF-8, as XML, so that "]]>" and letters beyond ASCII count in full."""
    rest = 65_535 - len(html_question("", 0).encode())
    size = len(letter.encode())
    fits = letter * (rest // size) + "x" * (rest % size)
    assert len(html_question(fits, 0).encode()) == 65_535
    with pytest.raises(InputError, match=r"65,536 bytes as XML, and MTurk takes at most 65,535; shorten the texts"):
        html_question(fits + "x", 0)
    rest = 65_535 - len(external_question(URL, 0).encode())
    assert len(external_question(URL + "x" * rest, 0).encode()) == 65_535
    with pytest.raises(InputError, match="give a shorter address"):
        external_question(URL + "x" * (rest + 1), 0)
    with pytest.raises(InputError, match="65,535"):
        external_question(URL + "&" * (rest // 5 + 1), 0)  # five bytes each, as &amp;


@given(st.lists(st.tuples(TEXTS, TEXTS)))
def test_any_submission_is_read_back_and_only_what_xml_cannot_hold_is_replaced(submitted):
    """One field of a name: the values of several joined by |; nameless fields are left out."""
    expected: dict[str, list[str]] = {}
    clean = [["".join(c if allowed(c) else "\ufffd" for c in part) for part in field] for field in submitted]
    for name, value in clean:
        if name:
            expected.setdefault(name, []).append(value)
    xml = answers_xml(submitted)
    ANSWERS.validate(xml)
    assert fields(xml) == {name: "|".join(values) for name, values in expected.items()}


def test_an_answer_as_mturk_documents_it():
    """The example of the API reference has text questions among others; those of a page are text."""
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<QuestionFormAnswers xmlns="http://mechanicalturk.amazonaws.com/'
        'AWSMechanicalTurkDataSchemas/2005-10-01/QuestionFormAnswers.xsd">\n  <Answer>\n'
        "    <QuestionIdentifier>movement</QuestionIdentifier>\n"
        "    <FreeText>left &amp; <![CDATA[<right>]]></FreeText>\n"
        "  </Answer>\n</QuestionFormAnswers>\n"
    )
    ANSWERS.validate(xml)
    assert fields(xml) == {"movement": "left & <right>"}


BOMB = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "lol"}">' for n in range(9))
WRAP = f'<QuestionFormAnswers xmlns="{answers.NAMESPACE}">%s</QuestionFormAnswers>'


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "not xml",
        "<a/>",
        "<QuestionFormAnswers/>",  # without the namespace
        WRAP % "<Answer/>",
        WRAP % "<Answer><QuestionIdentifier>a</QuestionIdentifier></Answer>",
        WRAP % "<Answer><QuestionIdentifier></QuestionIdentifier><FreeText>x</FreeText></Answer>",
        WRAP % ("<Answer><QuestionIdentifier>a</QuestionIdentifier><FreeText>x</FreeText></Answer>" * 2),
        WRAP % "<Other><QuestionIdentifier>a</QuestionIdentifier><FreeText>x</FreeText></Other>",
        WRAP % "&unknown;",
        WRAP % "\0",
        WRAP % "\ud800",
        f"<!DOCTYPE a [{BOMB}]>" + WRAP % "&e8;",
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">' + WRAP % "",
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + WRAP % "&x;",
        (WRAP % "")[:-5],
    ],
)
def test_nonsense_and_document_types_are_refused(xml):
    with pytest.raises(InputError, match="not the answer of an assignment") as refusal:
        fields(xml)
    assert "\n" not in str(refusal.value)


@settings(max_examples=50)
@given(st.binary() | st.text())
def test_no_bytes_from_outside_raise_anything_else(data):
    try:
        fields(data if isinstance(data, str) else data.decode("latin-1"))
    except InputError:
        pass
