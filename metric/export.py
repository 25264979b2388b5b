"""`eyetune export DIR`: a trained metric as one file that describes itself, with a model card."""

import argparse
import io
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from metric import exported, judged, runs
from metric.model import PerceptualMetric
from metric.weights import fingerprint, load_backbone
from study.errors import InputError
from study.files import write_bytes, write_text

CARD = """# {name}

A perceptual distance between images, trained with eyetune on votes about compressed photographs.

- **Votes:** {votes}
- **Network:** LPIPS, {backbone} trunk (ImageNet weights), linear heads trained on the votes
- **Input:** RGB, `(N, 3, H, W)`, values in [0, 1]. **Output:** `(N,)`, 0 for identical images, larger is worse
- **Trained with:** {versions}; commit {commit}
- **SHA-256 of the weights:** {sha256}
{warning}
## How often votes agree with it (2AFC)

Held out: each triplet is judged by heads that never saw its photograph. {intervals}.

{scores}

## Use

```python
import metric

distance = metric.load("{file}")      # a torch.nn.Module, frozen
loss = distance(reference, decoded).mean()   # finite gradients, also for identical images
```

With the package lpips: `lpips.LPIPS(net="{backbone}", model_path="{lpips_file}")`.

## Limits

It knows the codecs, rates and photographs that its votes were about; elsewhere it is LPIPS with other weights. The
ImageNet trunk comes from torchvision (BSD-3-Clause); photographs used for training may carry terms of their own.
"""

WARNINGS = {
    "human": "",
    "simulated": """
> **The votes were SIMULATED.** No person has judged these images: the metric imitates another metric, not people.
""",
    "mixed": """
> **Human and SIMULATED votes are mixed**, as was asked for: the metric imitates people and another metric.
""",
}


def main(argv: list[str] | None = None) -> int | None:
    """Write the newest run's metric, or a given run's."""
    parser = argparse.ArgumentParser(prog="eyetune export", description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path, help="a study (its newest finished run) or a run's folder")
    parser.add_argument("--out", type=Path, help="folder to write to (default: export/ in the run's folder)")
    parser.add_argument("--backbone-weights", type=Path, metavar="FILE", help="as given to eyetune train")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    options = parser.parse_args(argv)

    run_folder = _run_folder(options.folder)
    record = runs.read_settings(run_folder)
    settings = record["settings"]
    backbone = load_backbone(settings["backbone"], options.backbone_weights)
    if fingerprint(backbone.state_dict()) != settings["backbone_sha256"]:
        raise InputError(
            f"{run_folder}: trained on other {settings['backbone']} weights; give them: --backbone-weights"
        )
    metric = PerceptualMetric(backbone, runs.read_heads(run_folder))

    out = options.out or run_folder / "export"
    name = f"{settings['data']}-{run_folder.name}".replace("/", "_").replace(" ", "-")
    path, lpips_path, card_path = (out / f"{name}{end}" for end in (".safetensors", "-lpips.pth", ".md"))
    if card_path.exists() and not options.force:  # written last: without it the export is unfinished
        raise InputError(f"{card_path} is there already; replace this export with --force")
    scores = runs.read_scores(run_folder)
    card = {
        "name": name,
        "votes": settings["whose_votes"],
        "settings": settings,
        "scores": scores.fillna("").to_dict("records"),
    }
    exported.save(metric, path, card)
    _check(metric, path)
    _write_lpips(metric, lpips_path)
    write_text(card_path, _card(metric, name, record, scores, path.name, lpips_path.name))
    for written in (path, lpips_path, card_path):
        print(written)
    print(f'use it: metric.load("{path}"), or eyetune score OTHER_STUDY --metrics {path}')
    return 0


def _run_folder(folder: Path) -> Path:
    if (folder / "run.json").exists():
        if not runs.is_finished(folder):
            raise InputError(f"{folder}: the run is not finished; run its eyetune train again to go on with it")
        return folder
    newest = runs.newest_run(folder / "runs")
    if newest is None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        raise InputError(f"{folder} has no finished run; train one with: eyetune train {folder}")
    return newest


def _check(metric: PerceptualMetric, path: Path) -> None:
    """The file gives what the live metric gives, bit for bit, or it does not stay."""
    images = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        same = torch.equal(exported.load(path)(images[0], images[1]), metric(images[0], images[1]))
    if not same:
        path.unlink()
        raise RuntimeError(f"{path}: the exported file does not give the metric's distances; removed")


def _write_lpips(metric: PerceptualMetric, path: Path) -> None:
    """The heads as `lpips.LPIPS(net=..., model_path=path)` loads them."""
    state = {f"lin{k}.model.1.weight": head.detach().view(1, -1, 1, 1).clone() for k, head in enumerate(metric.heads)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())


def _card(
    metric: PerceptualMetric, name: str, record: dict[str, Any], scores: pd.DataFrame, file: str, lpips_file: str
) -> str:
    lines = ["| metric | 2AFC % | 95 % interval | |", "|---|---|---|---|"]
    for row in scores.fillna({"note": ""}).itertuples():
        lines.append(
            f"| {row.metric} | {100 * row.two_afc:.1f} | {100 * row.low:.1f} to {100 * row.high:.1f} | {row.note} |"
        )
    return CARD.format(
        name=name,
        votes=record["settings"]["whose_votes"],
        backbone=metric.backbone.name,
        versions=", ".join(f"{package} {version}" for package, version in record["versions"].items()),
        commit=record["commit"] or "unknown",
        sha256=fingerprint(metric.state_dict()),
        warning=WARNINGS[set(scores["voters"]).pop()],
        intervals=judged.INTERVALS,
        scores="\n".join(lines),
        file=file,
        lpips_file=lpips_file,
    )
