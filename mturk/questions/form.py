"""The serverless form: a page that travels with the HIT as an HTMLQuestion."""

import re

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mturk.questions.bundle import HERE, PAGE, bundle, read
from mturk.questions.external import check_address
from mturk.questions.sessions import session_trials
from mturk.questions.well_formed import check_characters, check_height, check_size
from study.folder import Study

NAMESPACE = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2011-11-11/HTMLQuestion.xsd"


def html_question(html: str, frame_height: int) -> str:
    """The XML of an HTMLQuestion that shows `html`.

    `frame_height` in CSS pixels, 0 for the window's. Line ends become "\\n", which XML and HTML parsers make of them
    anyway. Raises InputError for characters that XML cannot hold and for more than 65,535 bytes of XML.
    """
    check_height(frame_height)
    check_characters(html, "the form")
    html = html.replace("\r\n", "\n").replace("\r", "\n")
    content = html.replace("]]>", "]]]]><![CDATA[>")  # what would end the CDATA section stands half in the next one
    xml = (
        f'<HTMLQuestion xmlns="{NAMESPACE}"><HTMLContent><![CDATA[{content}]]></HTMLContent>'
        f"<FrameHeight>{frame_height}</FrameHeight></HTMLQuestion>"
    )
    return check_size(xml, "the form", "shorten the texts in [page] of study.toml")


def session_html(study: Study, script_url: str, observer: str) -> str:
    """The page of the observer's session, with the look and behaviour of the voting page, as HTML.

    `script_url` is the address of its trials (`publish_session`). The observer's id comes back with the answers, in the
    field `eyetune`. Raises InputError for an observer without trials.
    """
    check_address(script_url, "the session's script")
    trials = session_trials(study, observer)
    practice = sum(trial["kind"] == "training" for trial in trials)
    page = study.settings.page
    templates = FileSystemLoader([HERE / "templates", PAGE / "templates"])
    form = Environment(loader=templates, autoescape=True, undefined=StrictUndefined).get_template("form.html")
    return form.render(
        page=page,
        consent=_paragraphs(page.consent),
        instructions=_paragraphs(page.instructions),
        thanks=_paragraphs(page.thanks),
        practice=practice,
        trials=len(trials) - practice,
        smallest=study.settings.recruiting.smallest_window,
        script_url=script_url,
        observer=observer,
        style=_inline(read("style.css"), "</style"),
        code=_inline(bundle("session.js"), "</script"),
    )


def _inline(code: str, end: str) -> Markup:
    """Our own code, to stand in the page as it is."""
    assert end not in code.lower() and "<!--" not in code
    return Markup(code)


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
