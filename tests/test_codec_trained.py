"""The codec that comes with the project, on photographs that it has never seen."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from codec_runs import threads, without_onednn
from shared_data import shared

import codec
from codec import container, tiles
from codec.checkpoint import training_record
from codec.coding import compress, decompress, estimate
from codec.entropy.integers import to_float
from distortions.classical import Jpeg
from distortions.making import psnr
from distortions.rates import Ladder, nearest_step
from study.photographs import read

FILE = Path(codec.__file__).parent / "trained" / "bsds500.safetensors"


@pytest.fixture(scope="module")
def trained():
    return codec.load(FILE)


def test_it_says_where_it_is_from_and_what_it_may_be_used_for():
    record = training_record(FILE)
    assert "BSDS500" in record["notice"] and "research" in record["notice"]
    assert "BSDS500" in FILE.with_name("NOTICE.md").read_text()
    assert FILE.stat().st_size < 16 * 2**20


def latents(model, data: bytes) -> torch.Tensor:
    """y_hat of a file of one tile."""
    file = container.unpack(data)
    (tile,) = tiles.tiles(file.header.height, file.header.width)
    decoder = model.decoder(file.sections[0].code)
    with torch.inference_mode():
        y_hat = model.latent.walk(decoder, None, (-(-tile.height // 16), -(-tile.width // 16)))
    decoder.finish()
    return to_float(y_hat)


def test_kodak_comes_back_on_any_settings_at_the_price_that_was_estimated(trained):
    """24 photographs, five rates: within 1 % + 64 bytes of the estimate; 1 and 2 threads and no oneDNN decode alike."""
    paths = sorted(shared("photos/kodak").glob("*.png"))
    assert len(paths) == 24
    for path, position in zip(paths, itertools.cycle(range(5)), strict=False):
        image = read(path)
        with threads(1):
            data = compress(trained, image, position)
            bits = estimate(trained, image, position)
            sent = latents(trained, data)
        assert abs(8 * len(data) - bits) <= 0.01 * bits + 8 * 64
        assert len(sent.unique()) > 50
        for setting in (threads(2), without_onednn()):
            with setting:
                assert torch.equal(latents(trained, data), sent)


def test_it_is_better_than_jpeg_on_a_photograph_of_kodak(trained):
    """At JPEG's bits or fewer its squared error is smaller: a codec that lost its training would be far off."""
    image = read(shared("photos/kodak") / "kodim19.png")
    data = compress(trained, image, bits_per_pixel=0.4)
    rate = 8 * len(data) / image[..., 0].size
    assert rate <= 0.4
    ladder = Ladder(Jpeg(), image)
    step = nearest_step(ladder.bits_per_pixel, {}, len(Jpeg.rate.values), rate)
    jpeg = ladder.codec_at(step)
    written = jpeg.encode(image)
    assert 8 * len(written) / image[..., 0].size > 0.97 * rate
    assert psnr(image, decompress(trained, data)) > psnr(image, jpeg.decode(written)) + 1


def test_flat_and_noisy_images_come_back(trained):
    """What no photograph is like: black, white, noise, a checkerboard."""
    random = np.random.default_rng(0)
    board = (np.indices((97, 130)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    for image in (
        np.zeros_like(board),
        np.full_like(board, 255),
        random.integers(0, 256, board.shape, np.uint8),
        board,
    ):
        for position in (0, 4):
            data = compress(trained, image, position)
            assert decompress(trained, data).shape == image.shape
            bits = estimate(trained, image, position)
            assert abs(8 * len(data) - bits) <= 0.01 * bits + 8 * 64
