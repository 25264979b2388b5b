"""The learned perceptual metric: network, training on votes, scoring, and files to hand out.

`metric.load(path)` returns the `torch.nn.Module` in a file that `eyetune export` wrote.
"""

from metric.exported import load

__all__ = ["load"]
