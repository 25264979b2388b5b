"""Torch in one thread: for many small operations, and for results that no number of cores or workers changes.

Over small operations threads wait for each other longer than they work: beside other work on the same cores a second
one makes a training of heads ten times slower.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes in one thread within."""
    former = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(former)
