"""`eyetune codec evaluate PHOTOS --codec FILE ... --out DIR`: codecs compared by the files that they write.

Real bytes, PSNR, MS-SSIM, LPIPS, exported metrics and seconds, for each photograph and as means; rate-distortion curves
and Bjontegaard differences; one region side by side. Interrupted, the same command goes on where it stopped, and what
was measured is never measured again.
"""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codec.checkpoint import training_record
from distortions.catalogue import CODECS
from distortions.evaluation import means, panel, published, report
from distortions.evaluation.compared import compared
from distortions.evaluation.contenders import Contender, contenders
from distortions.evaluation.measuring import Unit
from distortions.evaluation.photographs import SIDE, Photograph, photographs
from distortions.evaluation.published import Anchors
from distortions.evaluation.store import results_of
from distortions.learned import Learned
from metric.measures import MEASURES, measure
from study.errors import InputError, UnavailableError
from study.files import write_text
from study.versions import version

USUAL_LPIPS = "alex"
RESULTS = "results.jsonl"
Measures = tuple[tuple[str, str], ...]


def main(argv: list[str] | None = None) -> int | None:
    """Compare codecs on photographs."""
    options = _parser().parse_args(argv)
    if options.workers < 1:
        raise InputError(f"--workers {options.workers}: must be 1 or more")
    if options.out.exists() and not options.out.is_dir():
        raise InputError(f"--out {options.out}: a file, not a folder")
    codecs = contenders(options.codec, options.classical, options.at)
    measures = _measures(options)
    anchors, drawn = _anchors(options)
    given, skipped = photographs(options.photographs, options.workers)
    apart = published.caution(anchors, given) if anchors else ""
    reference = _reference(options.reference, [codec.title for codec in codecs], drawn, apart)
    where = panel.region(given, options.crop)

    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / RESULTS
    units = [
        Unit(photograph, codec.title, point, measures)
        for photograph in given  # one after the other, so that measures prepare each once
        for codec in codecs
        for point in codec.points
    ]
    results = results_of(units, kept, options.workers, "evaluating", options.force)
    names = ["psnr", *(name for name, _ in measures)]
    rows = means.table(codecs, given, results, names)
    used, failed, unable = means.comparable(rows)
    if used.empty:
        what, why = next(iter({**unable, **failed}.items()))
        raise InputError(f"nothing can be compared: {what}: {why}")
    if where.photograph.source in failed:
        where = panel.region([photograph for photograph in given if photograph.source not in failed], None)
    target = panel.rate(used, where.photograph.source)
    able = [codec for codec in codecs if codec.title not in unable]
    shown = results_of(panel.units(able, where, target, measures), kept, options.workers, "one region", options.force)
    found = report.Evaluation(
        name=options.photographs.resolve().name,
        photographs=used["photograph"].nunique(),
        rows=rows,
        means=means.means(used, names),
        measures=compared(
            used, names, means.unmeasured(used, results, names), reference, anchors, drawn, comparable=not apart
        ),
        learned=[codec.title for codec in able if codec.learned],
        codecs={codec.title: _described(codec) for codec in able},
        cautions=[apart] if apart else [],
        left_out=skipped | failed | unable,
        computer=_computer(options.workers),
        command=["eyetune", "codec", "evaluate", *(argv or [])],
        region=where,
        target=target,
        original=panel.original(where),
        pictures=panel.pictures(able, where, target, shown),
    )
    write_text(options.out / "evaluation.json", json.dumps(_record(found, given), indent=1) + "\n")
    path = report.write(found, options.out)
    print(report.text(found))
    print(f"\nthe same as a page, tables and figures: {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="eyetune codec evaluate", description=__doc__)
    parser.add_argument(
        "photographs", metavar="PHOTOS", type=Path, help="a folder of photographs, searched recursively, or one of them"
    )
    parser.add_argument(
        "--codec", nargs="+", action="extend", default=[], metavar="FILE[:LABEL]",
        help="trained codecs; files of one rate that are given one label make one curve",
    )  # fmt: skip
    parser.add_argument(
        "--classical", nargs="*", default=["jpeg", "webp", "avif"], metavar="NAME",
        help=f"from {', '.join(CODECS)} (default: jpeg webp avif; without a name: none)",
    )  # fmt: skip
    parser.add_argument(
        "--at", nargs="+", action="extend", default=[], metavar="NAME=V,...",
        help="settings to measure a codec at, in place of its ladder: quality of jpeg, webp and avif, ratio of"
        " jpeg2000, qp of bpg, rate position of a trained codec; for example jpeg=10,50,90 mine=0,0.5,1",
    )  # fmt: skip
    parser.add_argument(
        "--metric", nargs="+", action="extend", default=[], metavar="FILE",
        help=f"metrics that eyetune export wrote, or any of {', '.join(MEASURES)}",
    )  # fmt: skip
    parser.add_argument(
        "--lpips", nargs="*", choices=["alex", "vgg", "squeeze"], metavar="TRUNK",
        help="LPIPS with alex, vgg, squeeze (default: alex where its weights can be had; without a trunk: none)",
    )  # fmt: skip
    parser.add_argument("--anchors", type=Path, metavar="FILE", help="published curves (JSON), drawn dashed")
    parser.add_argument(
        "--published", nargs="+", default=[], metavar="NAME",
        help=f"which of them (default: those there are of {', '.join(published.USUAL)})",
    )  # fmt: skip
    parser.add_argument(
        "--reference", metavar="NAME", help="what BD-rates are against (default: jpeg, else the first codec)"
    )
    parser.add_argument(
        "--crop", nargs=4, metavar=("PHOTO", "X", "Y", "SIDE"),
        help=f"the region that is shown (default: the most detailed {SIDE} pixels square)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where everything is written")
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--workers", type=int, default=cores, metavar="N", help="processes of one thread each (%(default)s, one a core)"
    )
    parser.add_argument("--force", action="store_true", help="measure again what is kept of earlier runs")
    return parser


def _measures(options: argparse.Namespace) -> Measures:
    """What is measured besides PSNR: names in tables, and what `metric.measures.measure` knows them by."""
    asked = [f"lpips-{trunk}" for trunk in (options.lpips if options.lpips is not None else [USUAL_LPIPS])]
    found: dict[str, str] = {}
    for source in dict.fromkeys(["ms-ssim", *asked, *options.metric]):
        try:
            name = measure(source).name
        except UnavailableError as error:
            if options.lpips is None and source not in options.metric:
                print(f"{source}: not computed: {error}")
                continue
            raise
        if name in found and name != "psnr":
            raise InputError(f"--metric {source}: the same metric as {found[name]}; name one of them")
        found[name] = source
    return tuple((name, source) for name, source in found.items() if name != "psnr")


def _anchors(options: argparse.Namespace) -> tuple[Anchors | None, list[str]]:
    """The published curves, and which of them are drawn."""
    if options.anchors is None:
        if options.published:
            raise InputError("--published names curves of a file; name the file too, with --anchors FILE")
        return None, []
    anchors = published.read(options.anchors)
    return anchors, published.chosen(anchors, options.published, options.anchors)


def _reference(asked: str | None, titles: Sequence[str], drawn: Sequence[str], apart: str) -> str:
    """The title of the curve that the others are compared with."""
    if asked is None:
        return "jpeg" if "jpeg" in titles else titles[0]
    if asked in titles:
        return asked
    if asked not in drawn:
        raise InputError(f"--reference {asked}: no such curve; there are: {', '.join([*titles, *drawn])}")
    if apart:
        raise InputError(f"--reference {asked}: {apart[0].lower()}{apart[1:]}")
    return published.titled(asked)


def _described(contender: Contender) -> str:
    """What encodes and decodes, and with which budget it was trained."""
    said = [contender.codec.library]
    if isinstance(contender.codec, Learned):
        said += [_trained(training_record(path)) for path in contender.codec.files]
    return ". ".join(dict.fromkeys(filter(None, said)))


def _trained(record: dict[str, Any]) -> str:
    """The training budget in a sentence; empty where the file does not tell it."""
    try:
        terms = ", ".join(f"{name} {weight:g}" for name, weight in record["distortion"].items())
        said = (
            f"Trained for {record['steps_done']:,} steps of {record['batch']} crops of {record['crop']} pixels in"
            f" {record['seconds'] / 60:,.0f} minutes ({record['device']}) on {record['photographs']:,} photographs,"
            f" with {terms}"
        )
    except (AttributeError, KeyError, TypeError, ValueError):  # another version's, or another program's
        return ""
    return f"{said}. {record['notice']}" if record.get("notice") else said


def _computer(workers: int) -> str:
    """What the seconds were measured on."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores, {workers} process{'es' if workers > 1 else ''} at once"


def _record(found: report.Evaluation, given: Sequence[Photograph]) -> dict[str, Any]:
    """What was compared, with what, where."""
    packages = ("eyetune", "torch", "numpy", "pillow", "piq", "bjontegaard")
    return {
        "command": found.command,
        "codecs": found.codecs,
        "settings": {str(codec): list(part["setting"]) for codec, part in found.means.groupby("codec", sort=False)},
        "measures": [measure.name for measure in found.measures],
        "photographs": {one.source: {"sha256": one.sha256, "width": one.width, "height": one.height} for one in given},
        "left_out": found.left_out,
        "cautions": found.cautions,
        "computer": found.computer,
        "versions": {"python": platform.python_version()} | {package: version(package) for package in packages},
    }
