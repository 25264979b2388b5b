"""The source keeps to the architecture: who imports whom, and no name shadows another."""

import ast
import functools
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import eyetune

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"study", "metric", "codec", "distortions", "webapp", "mturk", "analysis"}
MAY_IMPORT = {  # of this project's own packages
    "study": set(),
    "analysis": {"study"},
    "metric": {"study", "analysis"},
    "codec": {"study", "metric"},
    "distortions": {"study", "metric"},  # and, in learned.py and evaluate.py, codec
    "webapp": {"study", "analysis"},
    "mturk": {"study", "analysis"},
}
NEVER = {  # of other people's
    "study": {"torch", "flask", "boto3"},
    "analysis": {"torch", "flask", "boto3"},
    "metric": {"flask", "boto3"},
    "codec": {"flask", "boto3"},
    "distortions": {"flask", "boto3"},
    "webapp": {"torch", "boto3"},
    "mturk": {"torch", "flask"},  # but for its local server
}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@functools.cache
def installed() -> set[str]:
    """The top-level names of all other people's packages."""
    packages = importlib.metadata.packages_distributions()
    return {name for name, distributions in packages.items() if distributions != ["eyetune"]}


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports(path):
    package = path.relative_to(ROOT).parts[0]
    allowed = MAY_IMPORT[package] | {package}
    if package == "distortions" and path.name in ("learned.py", "evaluate.py"):
        allowed = allowed | {"codec"}
    names = imported(path)
    assert names & (PACKAGES | {"eyetune", "eyetune_demo"}) <= allowed
    never = NEVER[package] - ({"flask"} if path.is_relative_to(ROOT / "mturk" / "server") else set())
    assert not names & never


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_named_like_another(path):
    """A file that is run by path puts its folder's names before everybody else's."""
    name = path.stem if path.stem != "__init__" else path.parent.name
    assert name not in sys.stdlib_module_names
    assert name not in installed()


def test_help_starts_without_heavy_imports():
    code = "import sys, eyetune; [eyetune.main([*family, '--help']) for family in ([], ['codec'], ['mturk'], ['bpg'])]"
    code += "; print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(finished.stdout.splitlines()[-1].split())
    assert not loaded & {"torch", "pandas", "numpy", "flask", "pydantic", "PIL", "matplotlib", "scipy", "boto3"}


def test_every_verb_has_help_and_is_in_the_readme(capsys):
    readme = (ROOT / "README.md").read_text()
    for verb, (module, _) in eyetune.VERBS.items():
        assert f"eyetune {verb}" in readme
        with pytest.raises(SystemExit) as end:
            eyetune.main([verb, "--help"])
        assert end.value.code == 0
        assert f"usage: eyetune {verb}" in capsys.readouterr().out
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file()


@pytest.mark.parametrize(
    ("family", "verbs"),
    [("codec", eyetune.CODEC_VERBS), ("mturk", eyetune.MTURK_VERBS), ("bpg", eyetune.BPG_VERBS)],
)
def test_every_verb_of_a_family_has_help_and_is_in_the_readme(family, verbs, capsys):
    readme = (ROOT / "README.md").read_text()
    assert eyetune.main([family, "--help"]) == 0
    said = capsys.readouterr().out
    for verb, (module, _) in verbs.items():
        assert f"eyetune {family} {verb}" in readme and f"\n  {verb} " in said
        with pytest.raises(SystemExit) as end:
            eyetune.main([family, verb, "--help"])
        assert end.value.code == 0
        assert f"usage: eyetune {family} {verb}" in capsys.readouterr().out
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file()


def test_every_package_is_in_the_wheel():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    present = {package for package in PACKAGES if (ROOT / package).is_dir()}
    assert set(listed) == present | {"eyetune.py", "eyetune_demo.py"}
