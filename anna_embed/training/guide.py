"""A frozen embedder that guides training: its similarities over the whole batch are soft labels.

A mined row has teacher scores of its own few candidates. The guide compares every text of the batch with every other
(similarity-preserving distillation, Tung and Mori 2019, arXiv 1907.09682).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from anna_embed.artifacts import Located
from anna_embed.kinds import KINDS
from anna_embed.teacher.guide_vectors import Guide, texts_of
from anna_embed.training.batch import Batch

Encode = Callable[[list[str]], np.ndarray]  # from N bare texts to (N, dim) unit vectors


def compare(batch: Batch, encode: Encode) -> None:
    """Sets a batch's `guide`, and `compared`: no text is compared with itself, under whatever prompt."""
    vectors = torch.from_numpy(encode(batch.texts))
    batch.guide = vectors @ vectors.T
    number = {text: n for n, text in enumerate(dict.fromkeys(batch.texts))}
    same = torch.tensor([number[text] for text in batch.texts])
    batch.compared = same[:, None] != same


def guide_of(config, parents: dict[str, Located], tasks: dict[str, dict], rows: dict[str, Dataset],
             dtype: str) -> tuple[Guide | None, list[str]]:
    """
    The guide that a recipe names, and the texts that it must have embedded before the first step.

    Args:
        config ([`TrainConfig`]): the stage's keys.
        parents (`dict[str, Located]`): the inputs of the training run.
        tasks (`dict[str, dict]`): kind and instruction of each task; graded pairs need no guide.
        rows (`dict[str, Dataset]`): triplets of each task.
        dtype (`str`): of the guides' weights.
    """
    models = {key: parent for key, parent in parents.items() if key in ("guide", "second_guide")}
    if not models:
        return None, []
    ungraded = [table for task, table in rows.items() if not KINDS[tasks[task]["kind"]].graded]
    guide = Guide(models, Path(config.artifacts) / ".cache" / "vectors", config.max_length, dtype)
    return guide, texts_of(ungraded, config.num_negatives)
