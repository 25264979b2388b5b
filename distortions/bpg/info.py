"""`eyetune bpg info FILE...`: what BPG files hold, from their headers. It needs no HEVC decoder."""

import argparse
from pathlib import Path

from distortions.bpg.decode import contents
from study.errors import InputError


def main(argv: list[str] | None = None) -> int | None:
    """Print what the files hold."""
    parser = argparse.ArgumentParser(prog="eyetune bpg info", description=__doc__)
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="BPG files")
    options = parser.parse_args(argv)
    for path in options.files:
        data = contents(path)
        try:
            facts = _facts(data)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        print(path)
        print("\n".join(f"  {name:<12} {value}" for name, value in facts.items()))
    return 0


def _facts(file: bytes) -> dict[str, str]:
    from distortions.bpg import header as container
    from distortions.bpg import parameters

    header, data = container.unpack(file)
    if header.alpha != "none":  # its HEVC header stands before the colour's
        _, data = parameters.unpack(data)
    fields, data = parameters.unpack(data)
    extensions = [
        f"{container.EXTENSIONS.get(tag, f'unknown tag {tag}')} ({len(payload):,} bytes)"
        for tag, payload in header.extensions
    ]
    ctb = fields.min_cb << fields.log2_diff_cb
    return {
        "picture": f"{header.width} x {header.height} pixels{', the first of an animation' * header.animation}",
        "samples": f"{header.format}, {header.colour}, {header.depth} bits,"
        f" {'limited' if header.limited_range else 'full'} range",
        "alpha": header.alpha,
        "extensions": ", ".join(extensions) or "none",
        "bytes": f"{len(file):,}, {len(data):,} of them HEVC data",
        "rate": f"{8 * len(file) / (header.width * header.height):.4f} bits per pixel",
        "HEVC": f"blocks of {fields.min_cb} to {ctb}, transforms of {4 << fields.log2_min_tb_minus2} to"
        f" {4 << fields.log2_min_tb_minus2 + fields.log2_diff_tb}, SAO {'on' if fields.sao else 'off'}",
    }
