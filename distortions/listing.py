"""`eyetune distort --list`: every codec and distortion, its settings, and what has to be installed first."""

from distortions.catalogue import CODECS, LEARNED, PROGRAM
from distortions.program import Words
from distortions.synthetic.distorter import SETTINGS, Distorter
from distortions.synthetic.levels import CHAIN, KINDS
from distortions.tunable import Checked
from study.versions import version


def listing() -> str:
    """All of them as text, for people."""
    lines = ['Codecs, for name = "..." of [[codecs]] in study.toml; the setting in brackets is searched for each rate.']
    for name, kind in CODECS.items():
        codec = kind()
        missing = codec.missing()
        lines += ["", f"{name}: not installed: {missing}" if missing else f"{name}: {codec.library}"]
        lines += [f"  [{kind.rate.name}]  {kind.model_fields[kind.rate.name].description}", *_settings(kind)]
    lines += [
        "",
        f"{LEARNED}: trained codecs, through torch {version('torch')}",
        "  checkpoint  the file of one codec",
        "  checkpoints  files of codecs of one rate each, fewest bits first, in place of it",
        "",
        f"{PROGRAM}: any programs that encode and decode files, words given to them as they are",
        *_settings(Words),
        "",
        f"Distortions, the same way; they have levels and no bits. {Distorter(CHAIN).library}",
        f"  level  {SETTINGS['level']}",
        "",
    ]
    width = max(map(len, KINDS))
    for name, distortion in KINDS.items():
        amounts = ", ".join(f"{amount:g}" for amount in distortion.amounts)
        lines.append(f"{name:<{width}}  {amounts} ({distortion.unit}; {distortion.source})")
    lines += [f"{CHAIN:<{width}}  several of these, which and in which order by chance (BAPPS)"]
    lines += [f"  kinds  {SETTINGS['kinds']}"]
    return "\n".join(lines)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _settings(kind: type[Checked]) -> list[str]:
    return [
        f"  {name}  {meaning}"
        + ("" if kind.model_fields[name].is_required() else f" (default {_toml(kind.model_fields[name].default)})")
        for name, meaning in kind.allowed().items()
    ]
