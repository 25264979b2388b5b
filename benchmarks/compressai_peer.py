"""CompressAI's decoding of latents, which codec_context.py measures beside ours; it starts this with another Python.

    PYTHON benchmarks/compressai_peer.py WORK THREADS

PYTHON has compressai (1.2.8) and torch, and need not have eyetune. WORK/state.pt holds the weights of an mbt2018 under
CompressAI's names, WORK/image.pt an image `(1, 3, H, W)`; WORK/zoo.pth.tar is written, a checkpoint as in its zoo. The
first line of the answer says what was coded; then each line on standard input asks for one decoding, and the answer is
its seconds: `all` from the bytes to y_hat, and of that `y`, the loop over positions.
"""

import json
import sys
import time
import types
from pathlib import Path

import torch
from torch.nn import functional

try:
    import compressai
except (ImportError, RuntimeError):  # torchvision is missing or of another torch; compressai only lists its names
    for name in [name for name in sys.modules if name.split(".")[0] in ("torchvision", "compressai")]:
        del sys.modules[name]
    torchvision = types.ModuleType("torchvision")
    torchvision.transforms = types.ModuleType("torchvision.transforms")  # type: ignore[attr-defined]
    sys.modules |= {"torchvision": torchvision, "torchvision.transforms": torchvision.transforms}
    import compressai
from compressai.models import JointAutoregressiveHierarchicalPriors


@torch.no_grad()
def main(work: Path, threads: int) -> None:
    """Answer until standard input ends."""
    torch.set_num_threads(threads)
    state = torch.load(work / "state.pt", weights_only=True)
    model = JointAutoregressiveHierarchicalPriors(len(state["g_a.0.weight"]), len(state["g_a.6.weight"])).eval()
    model.load_state_dict(model.state_dict() | state)
    model.update(force=True)
    torch.save(model.state_dict(), work / "zoo.pth.tar")
    coded = model.compress(torch.load(work / "image.pt", weights_only=True))
    size = sum(len(strings[0]) for strings in coded["strings"])
    print(json.dumps({"version": compressai.__version__, "bytes": size}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(decode(model, coded["strings"], coded["shape"])), flush=True)


def decode(model: JointAutoregressiveHierarchicalPriors, strings: list, shape: tuple[int, int]) -> dict[str, float]:
    """Seconds of what `model.decompress` does before g_s: the same calls in the same order."""
    began = time.perf_counter()
    z_hat = model.entropy_bottleneck.decompress(strings[1], shape)
    features = model.h_s(z_hat)
    height, width = 4 * z_hat.shape[2], 4 * z_hat.shape[3]
    y_hat = torch.zeros(1, model.M, height + 4, width + 4)
    before_y = time.perf_counter()
    model._decompress_ar(strings[0][0], y_hat, features, height, width, 5, 2)
    functional.pad(y_hat, (-2, -2, -2, -2))
    ended = time.perf_counter()
    return {"all": ended - began, "y": ended - before_y}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
