"""What guides training: vectors of frozen embedders, made once for every text before the first step."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from anna_embed.teacher import dense
from anna_embed.teacher.shards import Processes
from anna_embed.teacher.vectors import VectorStore, text_keys


class Guide:
    """
    From bare texts to unit vectors of one or more frozen models.

    The vectors of several models stand side by side, scaled, so that their products are the means of the cosines.

    Args:
        models (`dict[str, Located]`): The recipe's keys and the models that they name.
        folder (`Path`): Keeps the vectors, float16, so that no run and no later step embeds a text again.
        max_length (`int`): Tokens that are read of a text at most.
        dtype (`str`): Of the models' weights.
    """

    def __init__(self, models: dict, folder: Path, max_length: int, dtype: str):
        self.models, self.max_length, self.dtype = models, max_length, dtype
        self.stores = [VectorStore(folder, f"{model.digest}, {max_length} tokens", dtype, "")
                       for model in models.values()]

    def missing(self, texts: list[str]) -> int:
        """How many of these texts a model has yet to embed."""
        keys = text_keys(texts)
        return sum(len(store.missing(keys)) for store in self.stores)

    def embed(self, texts: list[str], processes: Processes, batch_size: int = 64) -> None:
        """Embeds what is missing, in shards that the processes share; a kill loses one of each at most.

        Raises:
            [`RecipeError`]: a vector is not finite; names the key.
        """
        keys = text_keys(texts)
        for (key, model), store in zip(self.models.items(), self.stores):
            if len(store.missing(keys)):
                encoder = dense.load(model.path, self.dtype, str(processes.state.device))
                encoder.max_seq_length = min(encoder.max_seq_length or self.max_length, self.max_length)
                dense.embed(store, keys, lambda places: [texts[place] for place in places], encoder, batch_size,
                            processes, f"Embedding for the {key}", key)

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Float32 vectors of shape (texts, sum of the dimensions), of texts that are embedded."""
        keys = text_keys(texts)
        vectors = [store.take(store.rows(keys)) for store in self.stores]
        return np.concatenate(vectors, axis=1).astype(np.float32) / math.sqrt(len(vectors))


def texts_of(tables: list[Dataset], most: int) -> list[str]:
    """The distinct texts of triplets: queries, positives, and the first `most` negatives of each row."""
    columns = []
    for table in tables:
        rows = table.select_columns(["query", "positive", "negatives"]).with_format("arrow")[:]
        first = pc.list_slice(rows["negatives"], 0, most) if most else rows["negatives"].slice(0, 0)
        columns += [rows["query"], rows["positive"], pc.list_flatten(first)]
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string()).unique().to_pylist()
