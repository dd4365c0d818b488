"""A frozen embedder that guides training: its similarities over the whole batch are soft labels.

A mined row has teacher scores of its own few candidates. The guide compares every text of the batch with every other
(similarity-preserving distillation, Tung and Mori 2019, arXiv 1907.09682).
"""

from collections.abc import Callable

import numpy as np
import torch

from anna_embed.training.batch import Batch

Encode = Callable[[list[str]], np.ndarray]  # from N bare texts to (N, dim) unit vectors


def compare(batch: Batch, encode: Encode) -> None:
    """Sets a batch's `guide`, and `compared`: no text is compared with itself, under whatever prompt."""
    vectors = torch.from_numpy(encode(batch.texts))
    batch.guide = vectors @ vectors.T
    number = {text: n for n, text in enumerate(dict.fromkeys(batch.texts))}
    same = torch.tensor([number[text] for text in batch.texts])
    batch.compared = same[:, None] != same
