"""The form's page: the voting page's own look and behaviour in one piece of HTML, to be sent along with the HIT."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mturk.questions.external import check_address
from study.errors import InputError
from study.folder import Study
from study.sessions import trials_of
from study.votes import connect

HERE = Path(__file__).parent
# Read as files, so that a form is shown exactly as the page is; its templates stand in for those of the same name.
PAGE = HERE.parents[1] / "webapp"
MODULES = {"server.js": HERE / "static" / "form.js"}  # what the page asks its server, the form does by itself

IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "\./([\w-]+\.js)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:class|const|function) (\w+))", re.MULTILINE)


def session_html(study: Study, observer: str, script_url: str, token: str) -> str:
    """The form of the observer's session as HTML.

    `script_url` is the address of its trials (`publish_session`), `token` the HIT's own, which comes back with the
    answers in the field `eyetune`. Raises InputError for an observer without trials.
    """
    check_address(script_url, "the session's script")
    with connect(study.votes_path) as connection:
        trials = trials_of(connection, observer)
    if not trials:
        raise InputError(f"{study.votes_path}: observer {observer} has no trials")
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
        script_url=script_url,
        token=token,
        style=_inline(_read("style.css"), "</style"),
        code=_inline(bundle("session.js"), "</script"),
    )


def bundle(entry: str) -> str:
    """The page's module `entry` and all that it imports, as one script.

    Browsers load modules of another host only with leave (CORS), and a frame without an origin is always another host.
    Each module becomes a function that returns what it exports.
    """
    done: dict[str, str] = {}

    def add(name: str) -> None:
        source = _read(name)
        for _, imported in IMPORT.findall(source):
            if imported not in done:
                add(imported)
        exported = EXPORT.findall(source)
        source = IMPORT.sub(lambda found: f"const {{ {found[1]} }} = {_variable(found[2])};", source)
        source = EXPORT.sub("", source)
        assert not re.search(r"^(import|export)\b", source, re.MULTILINE), (
            f"{name}: not the form of import that is known"
        )
        body = f"{source}\nreturn {{ {', '.join(exported)} }};\n"
        done[name] = f"const {_variable(name)} = (() => {{\n{body}}})();\n"

    add(entry)
    return "".join(done.values())


def _read(name: str) -> str:
    return MODULES.get(name, PAGE / "static" / name).read_text(encoding="utf-8")


def _variable(module: str) -> str:
    return re.sub(r"\W", "_", module)


def _inline(code: str, end: str) -> Markup:
    """Our own code, to stand in the page as it is."""
    assert end not in code.lower() and "<!--" not in code
    return Markup(code)


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
