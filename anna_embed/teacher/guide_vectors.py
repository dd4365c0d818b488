"""What guides training: vectors of frozen embedders, made once for every text before the first step."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from anna_embed.kinds import KINDS
from anna_embed.located import Located
from anna_embed.teacher import dense
from anna_embed.teacher.shards import Processes
from anna_embed.teacher.vectors import VectorStore, text_keys
from anna_embed.unit_vectors import to_length_one


SHARD = 2048  # texts per shard: what a kill may cost, and what one process may be at while the others wait


class Guide:
    """
    From bare texts to unit vectors of one or more frozen models.

    The vectors of several models stand side by side, scaled, so that their products are the means of the cosines.

    Args:
        models (`dict[str, Located]`): The recipe's keys and the models that they name.
        folder (`Path`): Keeps the vectors, float16, for later runs of the same models, length and type.
        max_length (`int`): Tokens that are read of a text at most.
        dtype (`str`): Of the models' weights.
    """

    def __init__(self, models: dict[str, Located], folder: Path, max_length: int, dtype: str):
        self.models, self.max_length, self.dtype = models, max_length, dtype
        self.stores = [VectorStore(folder, f"{model.digest}, {max_length} tokens", dtype, "")
                       for model in models.values()]

    def missing(self, texts: list[str]) -> int:
        """How many vectors of these texts are yet to be made, those of each model counted."""
        keys = text_keys(texts)
        return sum(len(store.missing(keys)) for store in self.stores)

    def embed(self, texts: list[str], processes: Processes, batch_size: int = 64) -> None:
        """Embeds what is missing, in shards that the processes share; a kill costs each process one shard at most.

        Raises:
            [`RecipeError`]: a vector is not finite; names the key.
        """
        keys = text_keys(texts)
        for (key, model), store in zip(self.models.items(), self.stores):
            if len(store.missing(keys)):
                encoder = dense.load(model.path, self.dtype, str(processes.state.device), key)
                encoder.max_seq_length = min(encoder.max_seq_length or self.max_length, self.max_length)
                dense.embed(store, keys, lambda places: [texts[place] for place in places], encoder, batch_size,
                            processes, f"Embedding for the {key}", key, SHARD)

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Float32 vectors of shape (texts, sum of the dimensions), of texts that are embedded."""
        keys = text_keys(texts)
        vectors = [to_length_one(store.take(store.rows(keys))) for store in self.stores]
        return np.concatenate(vectors, 1) / len(vectors) ** 0.5


def texts_of(tables: list[Dataset], most: int) -> list[str]:
    """The distinct texts of triplets: queries, positives, and the first `most` negatives of each row."""
    columns = []
    for table in tables:
        rows = table.select_columns(["query", "positive", "negatives"]).with_format("arrow")[:]
        first = pc.list_slice(rows["negatives"], 0, most) if most else rows["negatives"].slice(0, 0)
        columns += [rows["query"], rows["positive"], pc.list_flatten(first)]
    chunks = [chunk.cast(pa.large_string()) for column in columns for chunk in column.chunks]  # 2 GB and more
    return pa.chunked_array(chunks, pa.large_string()).unique().to_pylist()


def texts_of_steps(steps, number: int) -> list[str]:
    """
    The texts that a guide must have embedded before the first step.

    Args:
        steps ([`~anna_embed.training.steps.Steps`]): of the training.
        number (`int`): of steps that there will be; rows beyond, and graded pairs, need no vectors.
    """
    used = {task: numbers for task, numbers in steps.rows_used(number).items()
            if not KINDS[steps.tasks[task]["kind"]].graded}
    # A selection is read row by row, three times as slow as a whole table.
    tables = [steps.rows[task].select(numbers) if len(numbers) < len(steps.rows[task]) else steps.rows[task]
              for task, numbers in used.items()]
    return texts_of(tables, steps.config.num_negatives) if tables else []


def guide_of(config, parents: dict[str, Located], dtype: str) -> Guide | None:
    """
    The guide that a recipe names, if it does.

    Args:
        config ([`TrainConfig`]): the stage's keys.
        parents (`dict[str, Located]`): the inputs of the training run.
        dtype (`str`): of the guides' weights.
    """
    models = {key: parent for key, parent in parents.items() if key in ("guide", "second_guide")}
    folder = Path(config.artifacts) / ".cache" / "vectors"
    return Guide(models, folder, config.max_length, dtype) if models else None
