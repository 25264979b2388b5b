"""What docs/codec.md shows works as it stands there."""

import re
from pathlib import Path

import numpy as np
import torch
from codec_runs import picture

from codec import coding, systems
from codec.checkpoint import load_codec, save_codec
from codec.systems import Config, build

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "codec.md").read_text()


def test_the_system_that_is_shown_trains_and_makes_files(tmp_path, monkeypatch):
    """Added to codec/systems.py it can be trained, and its files come back by its checkpoint, at any size."""
    (shown,) = re.findall(r"```python\n(def [^`]*SYSTEMS\[[^`]*)```", TEXT)
    names = vars(systems) | {"SYSTEMS": dict(systems.SYSTEMS)}
    exec(shown, names)
    monkeypatch.setattr(systems, "SYSTEMS", names["SYSTEMS"])
    name = list(names["SYSTEMS"])[-1]
    torch.manual_seed(1)
    codec = build(Config(name, (8, 8), "none", (0.01, 0.04)))
    output = codec(torch.rand(1, 3, 64, 64), torch.tensor([0.5]))
    (sum(bits.sum() for bits in output.bits.values()) + output.x_hat.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in codec.parameters())
    with torch.no_grad():
        codec.g_a[-1].weight.mul_(100)  # symbols that are not all zero
    save_codec(codec, tmp_path / "codec.safetensors")
    loaded = load_codec(tmp_path / "codec.safetensors")
    for size in ((1, 1), (40, 150)):
        data = coding.compress(codec, picture(*size))
        image = coding.decompress(loaded, data)
        assert image.shape == (*size, 3)
        np.testing.assert_array_equal(image, coding.decompress(codec, data))
        assert abs(8 * len(data) - coding.estimate(codec, picture(*size))) < 64 * 8
