"""A frozen embedder that guides training: its similarities over the whole batch are soft labels.

A mined row has teacher scores of its own few candidates. The guide compares a query with every text of its batch, at
the price of one forward pass (the idea of similarity-preserving distillation, Tung and Mori 2019, arXiv 1907.09682).
"""

from collections.abc import Callable

import numpy as np
import torch

from anna_embed.training.batch import Batch

Encode = Callable[[list[str]], np.ndarray]  # from N bare texts to (N, dim) unit vectors


def compare(batch: Batch, encode: Encode) -> None:
    """Sets a batch's `guide`, and `compared`: a query is not compared with itself, under whatever prompt."""
    vectors = torch.from_numpy(encode(batch.texts))
    batch.guide = vectors[batch.query] @ vectors.T
    asked = [batch.texts[number] for number in batch.query.tolist()]
    batch.compared = torch.tensor([[text != query for text in batch.texts] for query in asked])
