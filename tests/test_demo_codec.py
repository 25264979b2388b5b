"""`eyetune demo --codec`: from a study and an exported metric to two codecs beside JPEG, tiny."""

import json
from pathlib import Path

import pytest
from conftest import photograph
from PIL import Image

import eyetune
import eyetune_demo
from codec.training.crops import digest, read_photographs
from eyetune_demo import Budget
from metric.exporting.exported import save
from metric.measures import lpips
from study.errors import InputError

TINY = Budget(channels=(8, 8), crop=64, start=4, further=2)


def study(root: Path, photographs: int) -> Path:
    """A study's folder with its settings alone; its photographs lie beside it."""
    folder = root / "photographs"
    folder.mkdir()
    for k in range(photographs):
        Image.fromarray(photograph(k, 96)).save(folder / f"{k}.png")
    eyetune.main(["new", str(root / "study"), "--images", str(folder)])
    return root / "study"


def kept(folder: Path) -> dict[Path, bytes]:
    """Every file below `folder`; a page says when it was made."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".html"}


def test_two_codecs_that_differ_in_their_distortion_alone_stand_beside_jpeg(tmp_path, capsys):
    """On the photograph that neither has seen; a second run trains and measures nothing."""
    root, metric = study(tmp_path, 3), tmp_path / "mine.safetensors"
    save(lpips("alex"), metric, {"name": "mine"})
    unseen = eyetune_demo.unseen_photograph(root, TINY)
    page = eyetune_demo.codecs(root, unseen, metric, TINY)

    said = capsys.readouterr().out
    assert "on 2 photographs" in said and "not what learned codecs can do" in said
    text = page.read_text()
    assert all(title in text for title in ("mse", "metric", "jpeg", unseen.name, eyetune_demo.NOTICE))
    squared, perceptual = (
        json.loads((root / "codec" / name / "run.json").read_text())["settings"] for name in ("mse", "metric")
    )
    (alone,) = [one for one in read_photographs(unseen.parent, 64, quiet=True)[0] if one.path == unseen]
    assert squared["held_out_sha256"] == digest([alone])
    assert squared["start"]
    different = {key for key in squared if squared[key] != perceptual[key]}
    assert different == {"distortion", "metrics"}

    before = kept(root / "codec")
    eyetune_demo.codecs(root, unseen, metric, TINY)
    assert capsys.readouterr().out.count("this run is finished") == 3
    assert kept(root / "codec") == before


def test_one_photograph_is_refused_before_anything_is_made_of_it(tmp_path):
    root = study(tmp_path, 1)
    with pytest.raises(InputError, match="--codec needs two photographs of 64 pixels"):
        eyetune_demo.main([str(root), "--codec"], TINY)
    assert [path.name for path in root.iterdir()] == ["study.toml"]
