"""The voting page's modules and style in one piece, for a page that has no server to load them from."""

import re
from pathlib import Path

HERE = Path(__file__).parent
# Read as files, so that a form is shown exactly as the page is.
PAGE = HERE.parents[1] / "webapp"
MODULES = {"server.js": HERE / "static" / "form.js"}  # what the page asks its server, the form does by itself

IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "\./([\w-]+\.js)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:class|const|function) (\w+))", re.MULTILINE)


def bundle(entry: str) -> str:
    """The page's module `entry` and all that it imports, as one script.

    Browsers load modules of another host only with leave (CORS), and a frame without an origin is always another host.
    Each module becomes a function that returns what it exports.
    """
    done: dict[str, str] = {}

    def add(name: str) -> None:
        source = read(name)
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


def read(name: str) -> str:
    """A static file of the page, or the form's own in its place."""
    return MODULES.get(name, PAGE / "static" / name).read_text(encoding="utf-8")


def _variable(module: str) -> str:
    return re.sub(r"\W", "_", module)
