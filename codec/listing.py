"""`eyetune codec list [FILE...]`: which codecs can be trained, or what files hold.

A FILE is a trained codec (its system, widths, rates, fingerprint, and how it was trained) or a compressed image (.eyt).
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from study.errors import InputError

_WIDTHS = ((128, 192), (192, 320))
"""Of the published codecs, at low and at high rates."""


def main(argv: list[str] | None = None) -> int | None:
    """Print the systems, or what the files hold."""
    parser = argparse.ArgumentParser(prog="eyetune codec list", description=__doc__)
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="trained codecs and .eyt files")
    options = parser.parse_args(argv)
    if not options.files:
        print(_systems())
        return 0
    for path in options.files:
        if path.is_dir():
            raise InputError(f"{path}: a folder; name files in it")
        if not path.exists():
            raise InputError(f"{path}: no such file")
    for path in options.files:
        facts = _image(path) if _is_image(path) else _codec(path)
        print(path)
        print("\n".join(f"  {name:<12} {value}" for name, value in facts.items()))
    return 0


def _systems() -> str:
    """The systems that can be trained, with their parameters at the published widths."""
    from codec.systems import SYSTEMS, Config, build

    lines = []
    for name, system in SYSTEMS.items():
        for context in system.contexts:
            sizes = []
            for channels in _WIDTHS:
                codec = build(Config(name, channels, context))  # faster than on "meta", which imports half of torch
                sizes.append(f"{_parameters(codec):.1f} M parameters ({channels[0]} and {channels[1]} channels)")
            lines.append(f"{name:<21} {context:<13} {', '.join(sizes)}")
        lines.append(f"    {system.about}")
    return "\n".join([f"{'system':<21} {'context':<13}", *lines])


def _parameters(codec: Any) -> float:
    """In millions."""
    return sum(parameter.numel() for parameter in codec.parameters()) / 1e6


def _is_image(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() == ".eyt" or file.read(3) == b"EYT"


def _image(path: Path) -> dict[str, str]:
    from codec.container import FormatError, unpack

    data = path.read_bytes()
    try:
        file = unpack(data)
    except FormatError as error:
        raise InputError(f"{path}: {error}") from None
    header = file.header
    code = sum(len(section.code) for section in file.sections)
    return {
        "image": f"{header.width} x {header.height} pixels, {'grey' if header.grey else 'colour'}",
        "bytes": f"{len(data):,}, {len(data) - code} of them around the code",
        "rate": f"{8 * len(data) / (header.width * header.height):.4f} bits per pixel, position {header.position:g}",
        "tiles": str(len(file.sections)),
        "codec": header.fingerprint.hex(),
    }


def _codec(path: Path) -> dict[str, str]:
    from codec import load
    from codec.checkpoint import fingerprint, training_record

    codec = load(path)
    config: Any = codec.config
    lambdas = f"lambda {_plain(config.lambdas)}" if config.lambdas else "what it was trained for is not in the file"
    identity = fingerprint(codec)
    facts = {
        "system": f"{config.system}, context: {config.context}",
        "channels": f"{config.channels[0]} in the transforms, {config.channels[1]} in the latent",
        "parameters": f"{_parameters(codec):.2f} M",
        "rates": f"positions 0 to {codec.positions:g}, {lambdas}" if codec.positions else f"one, {lambdas}",
        "fingerprint": f"{identity[:16]} {identity[16:]}",
    }
    said = dataclasses.asdict(config)
    record = {name: value for name, value in training_record(path).items() if name not in said}
    return facts | {name.replace("_", " "): _plain(value) for name, value in record.items() if value not in (None, [])}


def _plain(value: Any) -> str:
    """A value of the training record in words; of a table, a line for each row."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items() if part not in (None, []))
    if isinstance(value, list | tuple):
        tabular = all(isinstance(row, dict) for row in value)
        return (f"\n{'':<15}" if tabular else ", ").join(map(_plain, value))
    return str(value)
