"""Learned codecs: transforms, priors, context models, entropy coding, files, training.

`codec.load(path)` returns the `torch.nn.Module` in a file that `eyetune codec train` wrote; `codec.coding.compress` and
`decompress` turn `(H, W, 3)` uint8 images into bytes and back.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codec.model import Codec

__all__ = ["load"]


def load(path: Path | str) -> "Codec":
    """The codec in `path` in eval mode, on the CPU: a trained one, or of CompressAI's zoo. Raises InputError."""
    from codec.checkpoint import load_codec  # torch takes seconds to import; --help does without

    return load_codec(path)
