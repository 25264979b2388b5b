"""Decode damaged .eyt files: `python tests/fuzz_codec.py COUNT SEED`; prints what became of them as JSON.

Each is a small file with flipped bits, changed, removed or inserted bytes, a part of another file, or a header that
lies. In half of them the checksum is made right again, and in half of these the seals too, where the code can be
walked at all: a file made to deceive. What is asserted: what decodes although it was not made to deceive is the image
that was compressed. The process ends at once where an image takes 20 seconds, and runs out of memory where one takes
256 MiB more than the program itself.
"""

import json
import random
import re
import resource
import signal
import sys
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from codec_runs import ALL, picture, tiny
from damage import changed, cut, flipped, limit_memory, repeated

from codec import container
from codec.coding import compress, decompress
from codec.container import FormatError
from codec.entropy.coders import CodingError
from codec.model import Codec
from codec.tiles import tiles

MEMORY = 256 * 2**20
SECONDS = 20


def originals(codec: Codec) -> list[bytes]:
    """Small files of different sizes and rates."""
    shapes = ((1, 1), (17, 33), (40, 40), (64, 48), (130, 20))
    return [compress(codec, picture(*shape, seed), seed % 3) for seed, shape in enumerate(shapes)]


def damaged(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """`data` with one to three kinds of damage."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        data = draw.choice((flipped,) * 4 + (changed,) * 3 + (lying,) * 3 + (spliced, cut, grown, repeated))(
            draw, data, other
        )
    return data


def grown(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """There are more bytes."""
    begin = draw.choice((len(data), draw.randrange(len(data) + 1)))
    return data[:begin] + draw.randbytes(draw.choice((1, 4, 64, 5000))) + data[begin:]


def spliced(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """One file's beginning with another's end, cut where both have as much or anywhere."""
    begin = draw.randrange(len(data) + 1)
    return data[:begin] + other[begin if draw.random() < 0.5 else draw.randrange(len(other) + 1) :]


def lying(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """A header of another size, rate or colour, in a file that is otherwise well formed where `data` is."""
    try:
        file = container.unpack(data)
    except FormatError:
        return data
    side = [1, 16, 17, 64, 128, 1000, 2048, 4096, 65535]
    width, height = draw.choice((file.header.width, *side)), draw.choice((file.header.height, *side))
    steps = draw.choice((file.header.steps, 0, 1, 256, 512, 513, 65535))
    header = replace(file.header, width=width, height=height, steps=steps, grey=draw.random() < 0.3)
    count = len(tiles(height, width))
    sections = (file.sections * count)[:count] if draw.random() < 0.5 else file.sections
    if draw.random() < 0.3:
        sections = [replace(section, code=section.code + draw.randbytes(40_000)) for section in sections]
    if width * height > container.MOST_PIXELS:  # the writer refuses it: put the numbers there by hand
        return data[:15] + b"\xff\xff\x03\xff\xff\x03" + data[17:]
    return container.pack(header, sections)


def repaired(data: bytes) -> bytes:
    """`data` with the checksum at its end made right."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little") if len(data) > 4 else data


def sealed(codec: Codec, data: bytes) -> bytes:
    """`data` with seals and checksum made right, where it can be taken apart and its codes walked."""
    try:
        file = container.unpack(repaired(data))
        seal, sections = container.first_seal(file.header), []
        for tile, section in zip(tiles(file.header.height, file.header.width), file.sections, strict=True):
            decoder = codec.decoder(section.code)
            with torch.inference_mode():
                codec.latent.walk(decoder, None, (-(-tile.height // 16), -(-tile.width // 16)))
            seal = container.next_seal(seal, decoder.symbols_crc)
            sections.append(replace(section, seal=seal))
        return container.pack(file.header, sections)
    except (FormatError, CodingError):
        return repaired(data)


def forged(draw: random.Random, codec: Codec, data: bytes) -> bytes:
    """A file of the codec's own that no image gave: any size and rate, latents up to the largest there are."""
    height, width = (draw.choice((1, 16, 50, 300)) for _ in range(2))
    steps = draw.choice((0, 300, 512))
    header = replace(container.unpack(data).header, width=width, height=height, steps=steps, grey=draw.random() < 0.5)
    size = -(-height // 16), -(-width // 16)
    latents = np.random.default_rng(draw.randrange(2**32)).normal(0, draw.choice((0, 1, 100, 1e5)), (1, 8, *size))
    encoder = codec.encoder()
    with torch.inference_mode():
        codec.latent.walk(encoder, torch.from_numpy(latents).float(), size)
    seal = container.next_seal(container.first_seal(header), encoder.symbols_crc)
    return container.pack(header, [container.Section(encoder.finish(), seal)])


def reason(error: FormatError) -> str:
    """The kind of refusal: its message's beginning, without numbers."""
    return re.sub(r"[\d,.]+", "#", str(error)).split(": it needs")[0][:43]


def fuzz(count: int, seed: int) -> Counter[str]:
    """What became of `count` damaged files: refusals by the first word of their reason, and what was decoded."""
    outcomes: Counter[str] = Counter()
    for kind, (system, context) in enumerate(ALL):
        codec = tiny(system, context, levels=3)
        files = originals(codec)
        images = [decompress(codec, data) for data in files]
        draw = random.Random(f"{seed} {kind}")
        if kind == 0:
            limit_memory(MEMORY)
        for _ in range(count // len(ALL)):
            index, other = draw.randrange(len(files)), draw.choice(files)
            data = damaged(draw, files[index], other)
            made_right = draw.choice(("nothing", "nothing", "checksum", "seals"))
            if made_right == "checksum":
                data = repaired(data)
            elif made_right == "seals":
                data = sealed(codec, data) if draw.random() < 0.7 else forged(draw, codec, files[index])
            signal.alarm(SECONDS)
            try:
                decoded = decompress(codec, data)
            except FormatError as error:
                assert "\n" not in str(error)
                outcomes[reason(error)] += 1
                continue
            finally:
                signal.alarm(0)
            if any(np.array_equal(decoded, image) for image in images):
                outcomes["the image"] += 1
            elif made_right == "seals":
                header = container.unpack(data).header
                assert decoded.shape == (header.height, header.width, 3)
                outcomes["made to deceive"] += 1
            else:
                raise AssertionError(f"another image, unnoticed, from {data.hex()}")
    return outcomes


if __name__ == "__main__":
    torch.set_num_threads(1)
    outcomes = fuzz(int(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(outcomes, indent=1, sort_keys=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{outcomes.total():,} files; peak memory {peak / 1024:,.0f} MiB", file=sys.stderr)
