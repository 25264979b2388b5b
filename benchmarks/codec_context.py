"""Decoding an autoregressive context (Minnen et al. 2018): in wavefront steps, position by position, and CompressAI's.

    python benchmarks/codec_context.py                          a Kodak-size image, N = M = 192, 2 threads, seconds
    python benchmarks/codec_context.py --peer PYTHON            also CompressAI, run with PYTHON: a virtual environment
                                                                with compressai (1.2.8) and torch, a minute
    python benchmarks/codec_context.py --channels 16 24 --size 64 96 --repetitions 1            the smallest run

All rows decode the same weights' code of the same latents, by turns, so that other work on the machine meets all alike;
a ratio is the median over the repetitions, and then that of the fastest times. "from bytes" is from the bytes to y_hat:
z, h_s, and the context, without g_s; "context" is the loop over positions alone. The weights are random, and scaled so
that a symbol has some bits of entropy, as in a trained codec. The last rows are entropy coding alone, without networks:
means, scales and symbols in, bytes out, and back.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # run by path: imports begin at the checkout's root, not in this file's folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable

import torch
from torch import Tensor

from codec.checkpoint import fingerprint, load_codec
from codec.entropy.coders import Decoder, Encoder
from codec.entropy.contexts import Autoregressive, Direct, Positions
from codec.entropy.distributions import Distribution
from codec.entropy.hyper import Hyper
from codec.entropy.integers import Networks, to_integers
from codec.model import Codec
from codec.systems import Config, build
from codec.zoo import PLACES
from study.command import run

Row = Callable[[], dict[str, float]]
"""Decodes once; gives the seconds `all` and `y`."""


def main(argv: list[str] | None = None) -> None:
    """Print the tables."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    (n, m), (height, width) = options.channels, options.size
    print(f"torch {torch.__version__}, threads {options.threads}, N {n}, M {m}, {height} x {width} px")
    with torch.inference_mode():
        codec, image = _codec(n, m, height, width)
        y = codec.analysis(image)
        size = (y.shape[2], y.shape[3])
        encoder = codec.encoder()
        y_hat = codec.latent.walk(encoder, y, size)
        data = encoder.finish()
        print(f"{y.numel():,} symbols of y, {8 * len(data) / y.numel():.2f} bits each with z; {len(data):,} bytes")
        rows: dict[str, Row] = {
            "one position at a time": lambda: _decode(codec, data, y_hat, _in_single_positions(codec)),
            "wavefront": lambda: _decode(codec, data, y_hat, Autoregressive.steps),
        }
        _same_bytes(codec, y, size, data)
        with tempfile.TemporaryDirectory() as work:
            peer = _Peer(options.peer, Path(work), codec, image, options.threads) if options.peer else None
            if peer:
                print(f"CompressAI {peer.version}: {peer.bytes:,} bytes")
                rows["CompressAI"] = peer.decode
            _table(rows, options.repetitions)
            if peer:
                peer.close()
        _coding(options.repetitions)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", metavar="PYTHON", help="a Python that has compressai")
    parser.add_argument("--channels", type=int, nargs=2, default=[192, 192], metavar=("N", "M"), help="(192 192)")
    parser.add_argument("--size", type=int, nargs=2, default=[512, 768], metavar=("H", "W"), help="pixels (512 768)")
    parser.add_argument("--repetitions", type=int, default=7, help="of every row, in turn (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (%(default)s)")
    return parser.parse_args(argv)


def _codec(n: int, m: int, height: int, width: int) -> tuple[Codec, Tensor]:
    """An mbt2018 of random weights and an image; deviations of y, and the scales, are about 0.3 to 6."""
    torch.manual_seed(0)
    codec = build(Config("mbt2018", (n, m), "masked", lambdas=(), scales="linear")).eval()
    image = torch.rand(1, 3, height, width)
    deviation = 0.3 * 20 ** torch.rand(m)
    last, parameters = codec.g_a[6], _context(codec).entropy_parameters[4]  # type: ignore[index]
    y = codec.analysis(image)
    factor = deviation / y.std(dim=(0, 2, 3))
    last.weight *= factor[:, None, None, None]
    last.bias.copy_((last.bias - y.mean(dim=(0, 2, 3))) * factor)
    parameters.bias[:m] = deviation
    return codec, image


def _context(codec: Codec) -> Autoregressive:
    assert isinstance(codec.latent, Hyper) and isinstance(codec.latent.context, Autoregressive)
    return codec.latent.context


def _in_single_positions(codec: Codec) -> Callable[[Autoregressive, int, int], list[Positions]]:
    """The wavefront's order, one position a step."""

    def steps(context: Autoregressive, height: int, width: int) -> list[Positions]:
        together = Autoregressive.steps(context, height, width)
        return [(rows[k : k + 1], columns[k : k + 1]) for rows, columns in together for k in range(len(rows))]

    return steps


def _decode(codec: Codec, data: bytes, y_hat: Tensor, steps: Callable) -> dict[str, float]:
    """Seconds of what `Hyper.walk` does, the context in `steps`."""
    context, size = _context(codec), (y_hat.shape[2], y_hat.shape[3])
    context.steps = steps.__get__(context)  # type: ignore[method-assign]
    began = time.perf_counter()
    decoder = codec.decoder(data)
    z_hat = codec.latent.inner.walk(decoder, None, codec.latent._inner_size(size))
    features = decoder.run(codec.latent.h_s, z_hat)[:, :, : size[0], : size[1]]
    before_y = time.perf_counter()
    decoded = context.walk(decoder, None, features)
    ended = time.perf_counter()
    if not torch.equal(decoded, y_hat):
        raise SystemExit("another y_hat than was encoded: nothing to compare")
    return {"all": ended - began, "y": ended - before_y}


def _same_bytes(codec: Codec, y: Tensor, size: tuple[int, int], data: bytes) -> None:
    """Encode position by position, and look whether the bytes are the wavefront's."""
    context = _context(codec)
    context.steps = _in_single_positions(codec).__get__(context)  # type: ignore[method-assign]
    encoder = codec.encoder()
    codec.latent.walk(encoder, y, size)
    if encoder.finish() != data:
        raise SystemExit("one position at a time gives other bytes: nothing to compare")
    print("one position at a time: identical bytes")


class _Peer:
    """CompressAI in a process of its own, with the same weights."""

    def __init__(self, python: str, work: Path, codec: Codec, image: Tensor, threads: int) -> None:
        torch.save(_published(codec), work / "state.pt")
        torch.save(image, work / "image.pt")
        script = str(Path(__file__).with_name("compressai_peer.py"))
        self.process = subprocess.Popen(
            [python, script, str(work), str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        about = self._answer()
        self.version, self.bytes = about["version"], about["bytes"]
        if fingerprint(load_codec(work / "zoo.pth.tar")) != fingerprint(codec):
            raise SystemExit("CompressAI's checkpoint of these weights loads as another codec: nothing to compare")

    def decode(self) -> dict[str, float]:
        """Its seconds."""
        assert self.process.stdin
        print(file=self.process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _answer(self) -> dict:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("CompressAI's process ended; what it said is above")
        return json.loads(line)


def _published(codec: Codec) -> dict[str, Tensor]:
    """The weights under CompressAI's names."""
    state = {}
    for name, value in codec.state_dict().items():
        for theirs, ours in PLACES.items():
            name = theirs + name.removeprefix(ours) if name.startswith(ours) else name
        state[name] = value
    del state["entropy_bottleneck.table"]
    medians = state.pop("entropy_bottleneck.medians")[:, None, None]
    state["entropy_bottleneck.quantiles"] = torch.cat((medians - 30, medians, medians + 30), 2)
    return state


def _table(rows: dict[str, Row], repetitions: int) -> None:
    times: dict[str, list[dict[str, float]]] = {name: [] for name in rows}
    for row in rows.values():
        row()  # to warm up
    for _ in range(repetitions):
        for name, row in rows.items():
            times[name].append(row())
    print(f"load {os.getloadavg()[0]:.1f}")
    print(
        f"{'decoding':24}  median s: from bytes  context   wavefront is faster (median, fastest): from bytes  context"
    )
    for name, measured in times.items():
        seconds = {part: [one[part] for one in measured] for part in ("all", "y")}
        ours = {part: [one[part] for one in times["wavefront"]] for part in seconds}
        ratios = [
            f"{statistics.median(a / b for a, b in zip(seconds[part], ours[part], strict=True)):6.1f}"
            f" {min(seconds[part]) / min(ours[part]):6.1f}"
            for part in seconds
        ]
        medians = [statistics.median(values) for values in seconds.values()]
        print(f"  {name:22} {medians[0]:22.3f} {medians[1]:8.3f} {ratios[0]:>52} {ratios[1]:>14}")


def _coding(repetitions: int) -> None:
    """Symbols a second of the entropy coder with known means and scales, those of a Kodak image with M = 320."""
    context, shape = Direct(Distribution("gaussian")), (1, 320, 32, 48)
    scale, mean = torch.randn(shape), torch.randn(shape)
    y = mean + torch.randn(shape) * scale.exp()
    features = to_integers(torch.cat((scale, mean), 1))
    seconds: dict[str, list[float]] = {"encoding": [], "decoding": []}
    for _ in range(repetitions + 1):
        began = time.perf_counter()
        encoder = Encoder(Networks())
        y_hat = context.walk(encoder, y, features)
        data = encoder.finish()
        between = time.perf_counter()
        decoded = context.walk(Decoder(Networks(), data), None, features)
        seconds["encoding"].append(between - began)
        seconds["decoding"].append(time.perf_counter() - between)
        if not torch.equal(decoded, y_hat):
            raise SystemExit("decoded other symbols")
    print(f"entropy coding of {y.numel():,} symbols of {8 * len(data) / y.numel():.2f} bits")
    for name, values in seconds.items():
        rates = [y.numel() / seconds / 1e6 for seconds in (statistics.median(values[1:]), min(values[1:]))]
        print(f"  {name:22} {rates[0]:6.2f} million symbols a second (median), {rates[1]:.2f} (fastest)")


if __name__ == "__main__":
    raise SystemExit(run(main))
