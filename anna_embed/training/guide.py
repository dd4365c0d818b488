"""A frozen embedder that guides training: its similarities over the whole batch are soft labels.

A mined row has teacher scores of its own few candidates. The guide compares a query with every text of its batch, at
the price of one forward pass (the idea of similarity-preserving distillation, Tung and Mori 2019, arXiv 1907.09682).
"""

import torch

from anna_embed.teacher import dense
from anna_embed.training.batch import Batch


class Guide:
    """Gives batches a teacher's cosines.

    Args:
        path (`str`): Folder of a SentenceTransformer. It reads bare texts, and is never trained.
        device (`torch.device`): Where it runs.
        max_length (`int`): Its own tokens of a text at most: about what the student sees of it.
    """

    def __init__(self, path: str, device: torch.device, max_length: int):
        self.model = dense.load(path, device=str(device))
        self.model.max_seq_length = min(self.model.max_seq_length or max_length, max_length)

    def add_to(self, batch: Batch) -> None:
        """Sets `guide`, and `compared`: a query is not compared with itself, under whatever prompt."""
        vectors = torch.from_numpy(dense.encode(self.model, batch.texts, progress=False, key="guide"))
        batch.guide = vectors[batch.query] @ vectors.T
        asked = [batch.texts[number] for number in batch.query.tolist()]
        batch.compared = torch.tensor([[text != query for text in batch.texts] for query in asked])
