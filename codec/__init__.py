"""Learned codecs: transforms, priors, context models, entropy coding, files, training.

`codec.load(path)` returns the `torch.nn.Module` in a file that `eyetune codec train` wrote; `codec.coding.compress` and
`decompress` turn `(H, W, 3)` uint8 images into bytes and back.
"""

from codec.checkpoint import load_codec as load

__all__ = ["load"]
