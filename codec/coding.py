"""Images to bytes and back with a trained codec.

    image --> g_a, part by part --> gain --> y --> tiles --> range encoder --> sections --> file
    file --> sections --> range decoder --> tiles --> y_hat --> gain^-1 --> g_s, part by part --> image

Between y and y_hat all is computed in integers on the CPU, so that a file decodes on every machine; g_a and g_s may run
on another device. codec/container.py has the file's bytes, codec/tiles.py says what tiles and parts are.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from codec import container
from codec.checkpoint import fingerprint
from codec.container import FINGERPRINT_BYTES, POSITION_STEPS, FormatError, Header, Section
from codec.entropy.coders import CodingError, Counter, Encoder
from codec.entropy.integers import to_float
from codec.model import Codec
from codec.tiles import Box, analysed, synthesised, tiles
from study.errors import InputError
from study.images import Pixels

ESTIMATES = 8
"""How many rates are tried for a target; each costs a walk of the latents without the range coder."""


def compress(
    codec: Codec,
    image: Pixels,
    position: float | None = None,
    device: torch.device | str | None = None,
    bits_per_pixel: float | None = None,
) -> bytes:
    """The whole file of an `(H, W, 3)` uint8 image, at a rate position or at most at `bits_per_pixel`.

    `position`: 0 (fewest bits) to `codec.positions`; None: half of that. `bits_per_pixel`: about the highest position
    that does not exceed it; position 0 where all do. `device`: where g_a runs, and stays; None: where it is. Raises
    InputError.
    """
    check_rate(codec, position, bits_per_pixel)
    _check_image(image)
    with _coding(codec, device):
        features = _features(codec, image)
        header = _header(codec, image, _steps(codec, position))
        if bits_per_pixel is None:
            return _encoded(codec, features, header)
        limit = bits_per_pixel * header.width * header.height
        last = _steps(codec, codec.positions)
        steps = _search(lambda steps: _estimated(codec, features, replace(header, steps=steps)), last, limit)
        data = _encoded(codec, features, replace(header, steps=steps))
        back = 1
        while 8 * len(data) > limit and steps > 0:  # the estimate was a little too low
            steps, back = max(0, steps - back), 2 * back
            data = _encoded(codec, features, replace(header, steps=steps))
        return data


def decompress(codec: Codec, data: bytes, device: torch.device | str | None = None) -> Pixels:
    """The `(H, W, 3)` uint8 image in a file; its channels are equal where the original's were.

    `device`: where g_s runs, and stays; None: where it is. Raises FormatError for a file that is damaged, or of another
    codec. A header that lies is noticed after one tile at most, before memory is taken for the others.
    """
    file = container.unpack(data)
    header = file.header
    with _coding(codec, device):
        _check(codec, file)
        seal = container.first_seal(header)
        y_hat: Tensor | None = None
        for box, section in zip(_boxes(codec, header), file.sections, strict=True):
            part, symbols_crc = _decoded(codec, section.code, box)
            seal = container.next_seal(seal, symbols_crc)
            if seal != section.seal:
                raise FormatError("altered: the decoded symbols are not those that were sealed")
            if y_hat is None:  # not before the first seal has vouched for the header
                y_hat = part.new_empty(1, part.shape[1], *_size(codec, header))
            y_hat[:, :, *box.within] = part
        assert y_hat is not None
        return _synthesised(codec, header, y_hat)


def estimate(codec: Codec, image: Pixels, position: float | None = None) -> float:
    """The bits of the file that `compress` gives, as the entropy model has it; by the same walk."""
    check_rate(codec, position, None)
    _check_image(image)
    with _coding(codec, None):
        return _estimated(codec, _features(codec, image), _header(codec, image, _steps(codec, position)))


def check_rate(codec: Codec, position: float | None, bits_per_pixel: float | None) -> None:
    """Raises InputError where `codec` cannot be asked for this rate."""
    if codec.positions == 0 and (position or bits_per_pixel is not None):
        raise InputError("this codec was trained for one rate; leave the rate out, or give a codec with several levels")
    if position is not None and not 0 <= position <= codec.positions:
        raise InputError(f"rate position {position:g}: this codec's go from 0 to {codec.positions:g}")
    if bits_per_pixel is not None and not 0 < bits_per_pixel < math.inf:
        raise InputError(f"{bits_per_pixel:g} bits per pixel: must be above 0")
    if position is not None and bits_per_pixel is not None:
        raise InputError("a rate position or bits per pixel, not both")


@contextmanager
def _coding(codec: Codec, device: torch.device | str | None) -> Iterator[None]:
    """Eval mode without gradients, the transforms on `device` and all else on the CPU; as it was before at the end."""
    training, latent_device = codec.training, _device(codec.latent)
    try:
        codec.eval()
        codec.latent.cpu()
        if codec.rate is not None:
            codec.rate.cpu()
        if device is not None:
            codec.g_a.to(device)
            codec.g_s.to(device)
        with torch.inference_mode():
            yield
    finally:
        codec.latent.to(latent_device)
        if codec.rate is not None:
            codec.rate.to(latent_device)
        codec.train(training)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _check_image(image: Pixels) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected an (H, W, 3) uint8 array, got {image.shape} {image.dtype}")
    container.check_size(image.shape[1], image.shape[0])


def _steps(codec: Codec, position: float | None) -> int:
    return round((codec.positions / 2 if position is None else position) * POSITION_STEPS)


def _header(codec: Codec, image: Pixels, steps: int) -> Header:
    grey = bool((image == image[:, :, :1]).all())
    return Header(_identity(codec), grey, steps, image.shape[1], image.shape[0])


def _identity(codec: Codec) -> bytes:
    return bytes.fromhex(fingerprint(codec))[:FINGERPRINT_BYTES]


def _size(codec: Codec, header: Header) -> tuple[int, int]:
    """Rows and columns of y."""
    return -(-header.height // codec.stride), -(-header.width // codec.stride)


def _boxes(codec: Codec, header: Header) -> list[Box]:
    """The tiles, in latents."""
    s = codec.stride
    return [
        Box(tile.top // s, tile.left // s, -(-tile.height // s), -(-tile.width // s))
        for tile in tiles(header.height, header.width)
    ]


def _features(codec: Codec, image: Pixels) -> Tensor:
    """What g_a gives for the image `(1, M, h, w)`, on the CPU: y at every rate but for a factor."""
    device = _device(codec.g_a)
    return analysed(image, codec.stride, lambda x: codec.g_a(x.to(device)))


def _y(codec: Codec, features: Tensor, header: Header) -> Tensor:
    return features if codec.rate is None else codec.rate(features, torch.tensor([header.position]))


def _encoded(codec: Codec, features: Tensor, header: Header) -> bytes:
    """The file."""
    y = _y(codec, features, header)
    sections = []
    seal = container.first_seal(header)
    for box in _boxes(codec, header):
        encoder = codec.encoder()
        _walk(codec, encoder, y, box)
        seal = container.next_seal(seal, encoder.symbols_crc)
        sections.append(Section(encoder.finish(), seal))
    return container.pack(header, sections)


def _estimated(codec: Codec, features: Tensor, header: Header) -> float:
    """The file's bits."""
    y = _y(codec, features, header)
    bits, around = 0.0, []
    for box in _boxes(codec, header):
        counter = codec.counter()
        _walk(codec, counter, y, box)
        bits += counter.bits
        around.append(Section(bytes(4 * math.ceil(counter.bits / 32)), 0))
    return bits + 8 * (len(container.pack(header, around)) - sum(len(section.code) for section in around))


def _walk(codec: Codec, coder: Encoder | Counter, y: Tensor, box: Box) -> None:
    try:
        codec.latent.walk(coder, y[:, :, *box.within].contiguous(), (box.height, box.width))
    except CodingError as error:
        raise InputError(f"this codec cannot code the image: {error}") from None


def _check(codec: Codec, file: container.File) -> None:
    """Raises FormatError for a file that cannot be this codec's."""
    header = file.header
    ours = _identity(codec)
    if header.fingerprint != ours:
        raise FormatError(
            f"compressed with another codec: it needs {header.fingerprint.hex()}, this is {ours.hex()}"
            " (the first digits of the fingerprint that eyetune codec list shows)"
        )
    if header.steps > _steps(codec, codec.positions):
        raise FormatError(f"altered: rate position {header.position:g}; its codec's end at {codec.positions:g}")
    for box, section in zip(_boxes(codec, header), file.sections, strict=True):
        least = codec.latent.least_bits((box.height, box.width))
        if 8 * len(section.code) < least:
            raise FormatError(
                f"altered: {len(section.code):,} bytes cannot be the code of {header.width} x {header.height} pixels"
            )


def _decoded(codec: Codec, code: bytes, box: Box) -> tuple[Tensor, int]:
    """y_hat `(1, M, h, w)` of a tile, and the CRC-32 of its symbols."""
    try:
        decoder = codec.decoder(code)
        integers = codec.latent.walk(decoder, None, (box.height, box.width))
        decoder.finish()
    except CodingError as error:
        raise FormatError(f"altered: {error}") from None
    return to_float(integers), decoder.symbols_crc


def _synthesised(codec: Codec, header: Header, y_hat: Tensor) -> Pixels:
    device, position = _device(codec.g_s), torch.tensor([header.position])

    def transform(part: Tensor) -> Tensor:
        scaled = part if codec.rate is None else codec.rate.inverse(part, position)
        x_hat = codec.g_s(scaled.to(device))
        return x_hat.mean(1, keepdim=True).expand(-1, 3, -1, -1) if header.grey else x_hat

    return synthesised(y_hat, (header.height, header.width), codec.stride, transform)


def _search(bits: Callable[[int], float], last: int, limit: float) -> int:
    """Nearly the highest of the steps 0 to `last` whose `bits` do not exceed `limit`; 0 where all do.

    False position on the bits' logarithm, which grows about evenly with the steps; where one end stays twice, its value
    is halved (the Illinois method), so that the bracket shrinks whatever the curve.
    """
    low, high, kept = 0, last, 0
    above = math.log(bits(high) / limit)
    if above <= 0:
        return high
    below = nearest = math.log(bits(low) / limit)
    for _ in range(ESTIMATES - 2):
        if nearest > -0.002 or high - low < 2:  # also where even the fewest bits are too many
            break
        middle = min(max(low + round((high - low) * below / (below - above)), low + 1), high - 1)
        found = math.log(bits(middle) / limit)
        if found <= 0:
            above = above / 2 if kept == 1 else above
            low, below, nearest, kept = middle, found, found, 1
        else:
            below = below / 2 if kept == -1 else below
            high, above, kept = middle, found, -1
    return low
