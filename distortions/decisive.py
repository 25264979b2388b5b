"""What decided a study's stimuli and comparisons, as distort.json begins."""

import platform
from typing import Any

import numpy as np
import PIL

from distortions.catalogue import Treatment
from distortions.synthetic.distorter import Distorter
from study.errors import InputError
from study.files import sha256
from study.folder import Study


def record_of(study: Study, codecs: dict[str, Treatment], hashes: dict[str, str]) -> dict[str, Any]:
    """What decides the result: settings, libraries, and the photographs' files by `hashes`."""
    settings = study.settings
    assert settings.photographs
    resolved = {}
    for title, codec in codecs.items():
        steered = None if isinstance(codec, Distorter) else codec.rate.name
        values = {key: value for key, value in codec.settings.items() if key != steered}
        resolved[title] = {
            "name": codec.name,
            "library": codec.library,
            "rate_setting": steered,
            "settings": values,
        }
    photographs = settings.photographs.model_dump(exclude={"folder"})
    if photographs["crops"] == "textured":  # as in the records of studies that had no choice
        del photographs["crops"]
    unused = (
        {"design", "pairs", "metrics"}  # as in the records of studies that had no choice
        if settings.triplets.design == "codecs-and-rates"
        else {"across_codecs", "across_rates"}
    )
    metrics = [name for name in settings.triplets.metrics if name.endswith(".safetensors")]
    return {
        "seed": settings.seed,
        "photographs": photographs,
        "rates": settings.rates.model_dump(),
        **_quality(study),
        "codecs": resolved,
        "triplets": settings.triplets.model_dump(exclude=unused),
        **({"metrics": {name: _hash(study, name) for name in metrics}} if metrics else {}),
        "versions": {
            "python": platform.python_version(),
            "pillow": PIL.__version__,
            "numpy": np.__version__,
        },
        "files": hashes,
    }


def of_stimuli(record: dict[str, Any]) -> dict[str, Any]:
    """What decides the stimuli: not which of them are compared."""
    values = {key: value for key, value in record.items() if key not in ("triplets", "metrics")}
    if "quality" in values:
        values["quality"] = {key: value for key, value in values["quality"].items() if key != "pairs"}
    return values


def changes(former: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Which parts of the record are others now. Versions do not count: what was made stays made."""

    def meaning(values: dict[str, Any], key: str) -> Any:
        value = values.get(key)
        if key == "codecs" and isinstance(value, dict):
            return {
                title: {k: v for k, v in codec.items() if k != "library"} if isinstance(codec, dict) else codec
                for title, codec in value.items()
            }
        return value

    names = {"photographs": "crops", "files": "photographs"}
    keys = [*record, *(["quality"] if "quality" in former and "quality" not in record else [])]
    return [names.get(key, key) for key in keys if key != "versions" and meaning(former, key) != meaning(record, key)]


def _quality(study: Study) -> dict[str, Any]:
    quality = study.settings.quality
    if quality.metric is None:  # as in the records of studies that had no choice
        unused = {"metric", "distances", "distance_tolerance"}
        return {"quality": quality.model_dump(exclude=unused)} if quality.psnr else {}
    from distortions.distances import metric_name  # torch

    return {"quality": quality.model_dump() | {"metric": metric_name(study)}}


def _hash(study: Study, name: str) -> str:
    try:
        return sha256((study.root / name).read_bytes())
    except OSError as error:
        raise InputError(f"{study.settings_path}: triplets.metrics: {name}: {error.strerror}") from None
