"""The model card of an exported metric: what it is for, what it learned from, how good it is, how to load each file."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metric.judging import judged
from metric.network.backbones import LAYOUTS, SHIFT_TOLERANT

CARD = """---
library_name: eyetune
tags: [image-quality-assessment, perceptual-metric, full-reference, 2afc, image-compression{tags}]
---

# {name}

A perceptual distance between a reference image and a distorted one, trained with eyetune on votes about images.
{warning}
- **Votes:** {votes}
- **Network:** {backbone} trunk{trunk}, unit-length features, non-negative linear heads (LPIPS, Zhang et al. 2018)
- **Input:** two images, RGB, float, `(N, 3, H, W)`, values in [0, 1], sides of {smallest} pixels or more
- **Output:** `(N,)`, 0 for identical images, larger is worse
- **SHA-256 of the weights:** {sha256}

## Intended use

As a loss for codecs and image restoration, and to rank what they produce, for images and distortions like those that
the votes were about (below). It compares with a reference; it does not judge a single image, and its scale is not a
mean opinion score.

## Training data

{data}

## Evaluation

{evaluation}

## Calibration

{calibration}
{robustness}
## Use

{usage}

## Limits

It knows the codecs, rates and photographs that its votes were about; elsewhere it is {backbone} features with other
weights. Distances of different metrics are on different scales. It was not made to resist images built to fool it.

## Licence

{licence}
The votes and the photographs behind them may carry terms of their own; whoever gathered them says under which terms
these weights may be used.
"""

WARNINGS = {
    "simulated": """
> **The votes were SIMULATED.** No person has judged these images: the metric imitates another metric, not people.
""",
    "mixed": """
> **Human and SIMULATED votes are mixed**, as was asked for: the metric imitates people and another metric.
""",
    "unknown": """
> **Whose votes these were is not known**: the data did not say whether people or a metric gave them.
""",
}

USES = {
    "safetensors": """**{file}**: with eyetune{trunk_of}; a frozen `torch.nn.Module` that checks its input.

```python
import metric

distance = metric.load("{file}"{load_arguments})
loss = distance(reference, decoded).mean()  # finite gradients, also for identical images
```""",
    "torch-export": """**{file}**: with torch {torch} or newer alone. The range of the input is not checked; sides of at
least {side} pixels.

```python
import torch

distance = torch.export.load("{file}").module()
loss = distance(reference, decoded).mean()  # float32, (N, 3, H, W), [0, 1]
```""",
    "onnx": """**{file}**: with onnxruntime or another ONNX runtime. The range of the input is not checked.

```python
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
(distances,) = session.run(None, {{"reference": reference, "distorted": distorted}})  # float32 arrays, [0, 1]
```""",
    "lpips": """**{file}**: with the package lpips.

```python
import lpips

distance = lpips.LPIPS(net="{backbone}", model_path="{file}")
loss = distance(reference, decoded, normalize=True).mean()  # normalize: [0, 1] instead of [-1, 1]
```""",
}
COLUMNS = {"two_afc": ("2AFC %", 100, 1)} | {key: column[:3] for key, column in judged.COLUMNS.items()}
"""Title, factor and digits of the columns that have them."""


def markdown(description: Mapping[str, Any], files: Mapping[str, str], smallest: Mapping[str, int]) -> str:
    """The card as text: of `exported.describe_metric`, and the files' names and smallest images by format."""
    card = description["card"]
    settings = card.get("settings", {})
    backbone = description["backbone"]
    voters = card.get("voters", "unknown")
    arguments, trunk_of = (
        ("", "") if description["built_in"] else (", backbone=trunk", f" and the module of {backbone!r}")
    )
    fields = {
        "backbone": backbone,
        "load_arguments": arguments,
        "trunk_of": trunk_of,
        "torch": torch.__version__.split("+")[0],
    }
    return CARD.format(
        name=card.get("name", backbone),
        tags={"human": "", "unknown": ""}.get(voters, f", {voters}-votes"),
        warning=WARNINGS.get(voters, ""),
        votes=card.get("votes", "unknown"),
        backbone=backbone,
        trunk=_mode(settings, backbone),
        smallest=description["smallest"],
        sha256=description["sha256"],
        data=_training(card),
        evaluation=_evaluation(card),
        calibration=_calibration(description["calibration"]),
        robustness=f"\n## Robustness\n\n{table(card['robustness'])}\n" if card.get("robustness") else "",
        usage="\n\n".join(USES[kind].format(file=file, side=smallest[kind], **fields) for kind, file in files.items()),
        licence=_licence(backbone, settings, description["built_in"]),
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A markdown table of the columns that the rows have; `low` and `high` become one column after their value."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [c for c in columns if c != "voters" and c not in ("high", "note") and not c.endswith("_high")]
    columns += ["note"] if any(row.get("note") for row in rows) else []
    head = [_title(column) for column in columns]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(_cell(row, column) for column in columns)} |" for row in rows]
    return "\n".join(lines)


def _title(column: str) -> str:
    if column == "low" or column.endswith("_low"):
        return "95 % interval"
    return COLUMNS[column][0] if column in COLUMNS else column.replace("_", " ")


def _cell(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column, "")
    if column == "low" or column.endswith("_low"):
        of = column.removesuffix("low").rstrip("_") or "two_afc"
        ends = [_number(row.get(end, ""), of) for end in (column, column.removesuffix("low") + "high")]
        return " to ".join(ends) if all(ends) else ""
    return _number(value, column)


def _number(value: Any, column: str) -> str:
    if not isinstance(value, float):
        return str(value).replace("|", "\\|")
    _, factor, digits = COLUMNS.get(column, ("", 1, None))
    return f"{value:.4g}" if digits is None else f"{factor * value:.{digits}f}"


def _mode(settings: Mapping[str, Any], backbone: str) -> str:
    before = dict.fromkeys(SHIFT_TOLERANT, "ST-LPIPS's weights") | dict.fromkeys(LAYOUTS, "ImageNet weights")
    start = before.get(backbone, "weights of its own")
    modes = {
        "linear": f" ({start}, frozen)",
        "tune": f" ({start}, fine-tuned on the votes)",
        "scratch": " (trained on the votes from scratch)",
    }
    return modes.get(settings.get("mode", "linear"), "") if settings else ""


def _licence(backbone: str, settings: Mapping[str, Any], built_in: bool) -> str:
    if not built_in:
        return f"The trunk {backbone!r} was handed over by whoever made this file; its licence is theirs to say."
    if settings.get("mode") == "scratch":
        return "No weights of others are in it."
    if backbone in LAYOUTS:
        return "The trunk starts from torchvision's ImageNet weights (BSD-3-Clause)."
    return "The trunk starts from ST-LPIPS's weights (package stlpips-pytorch)."


def _training(card: Mapping[str, Any]) -> str:
    settings = card.get("settings", {})
    lines = [f"- Data: {settings['data']}" if "data" in settings else "", f"- {card.get('votes', 'unknown votes')}"]
    if settings:
        start = card.get("start") or settings.get("start", "unknown")
        lines.append(f"- Start: {start}; seed {settings.get('recipe', {}).get('seed', '?')}")
        hashes = [f"{key.removesuffix('_sha256')} {settings[key]}" for key in settings if key.endswith("s_sha256")]
        lines += [f"- SHA-256: {text}" for text in hashes]
    if card.get("versions"):
        versions = ", ".join(f"{package} {version}" for package, version in card["versions"].items())
        lines.append(f"- Trained with {versions}; commit {card.get('commit') or 'unknown'}")
    return "\n".join(line for line in lines if line)


def _evaluation(card: Mapping[str, Any]) -> str:
    if not card.get("scores"):
        return "None was recorded."
    return (
        "How often votes agree with it (2AFC), and beside it other metrics on the same triplets. Held out: each triplet"
        f" is\njudged by weights that never saw its photograph. {judged.INTERVALS}.{_judged_by(card)}\n\n"
        f"{table(card['scores'])}"
    )


def _judged_by(card: Mapping[str, Any]) -> str:
    """Whose votes the scores stand on, where they are not those that it learned from."""
    votes = card.get("settings", {}).get("validation_votes")
    return f" They stand on other votes: {votes}." if votes else ""


def _calibration(calibration: Mapping[str, Any] | None) -> str:
    known = {key: value for key, value in (calibration or {}).items() if value is not None}
    if not known:
        return "None: distances order images; they are no probabilities and have no unit."
    lines = []
    for key, value in known.items():
        parts = value if isinstance(value, Mapping) else {"": value}
        lines.append(f"- {key}: " + ", ".join(f"{name} {_number(part, '')}".strip() for name, part in parts.items()))
    return "\n".join(lines)
