"""Dense vectors by any SentenceTransformer, each text embedded once."""

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np

from anna_embed.parsing import RecipeError, in_short
from anna_embed.teacher.nearest import top_k
from anna_embed.teacher.shards import Processes
from anna_embed.teacher.vectors import Vectors, VectorStore, text_keys
from anna_embed.unit_vectors import to_length_one

__all__ = ["aligned", "embed", "encode", "encode_cached", "load", "top_k"]

SHARD, LEAST, PARTS = 8192, 256, 16  # texts per shard of vectors, at most and at least; shards of what lies between


def load(path: str, dtype: str = "float32", device: str | None = None, key: str = "dense_model"):
    """A SentenceTransformer with weights of the given type. `key` is the recipe's key that names it.

    Raises:
        [`RecipeError`]: there is no such model in the folder, or it lacks weights.
    """
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from anna_embed.tokens import check_words
    from anna_embed.weights import check_weights

    try:
        model = aligned(SentenceTransformer(path, model_kwargs={"dtype": dtype}, device=device))
    except (OSError, ValueError, TypeError, SafetensorError) as error:  # a type: where 1_Pooling/config.json is not
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise RecipeError(f"{key}: '{path}' is no SentenceTransformer ({in_short(error)}); fetch it again, or name "
                          "the folder or Hub id of one.") from None
    if isinstance(model.transformers_model, PreTrainedModel):  # of static embeddings there is none
        check_weights(model.transformers_model, path, key)
    if isinstance(model.tokenizer, PreTrainedTokenizerBase):  # not of static embeddings
        check_words(model.tokenizer, path, key)
    return model


def aligned(model):
    """The model with its weights copied to addresses that torch chooses.

    Where a checkpoint's small weights lie differs from process to process, and a CPU's product with a vector that lies
    on no 64-byte boundary has other last bits: the same pair would score differently in another process.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


def encode(model, texts: list[str], prompt: str = "", batch_size: int = 64, progress: bool = True,
           key: str = "dense_model") -> np.ndarray:
    """L2-normalised float32 vectors of shape (texts, dim); the library sorts by length and shows progress.

    An empty prompt is passed on as such: None would put the model's own default prompt in front. `key` is the recipe's
    key that names the model.

    Raises:
        [`RecipeError`]: a vector is NaN or infinite (its text would never be found, in silence).
    """
    vectors = model.encode(texts, prompt=prompt, batch_size=batch_size, convert_to_numpy=True,
                           show_progress_bar=progress).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1)) if len(texts) else ()
    if len(bad):
        raise RecipeError(f"{key}: the vector of the text {texts[bad[0]][:80]!r} is not finite; check that model's "
                          f"weights{', or use dtype: float32' if key == 'dense_model' else ''}.")
    return to_length_one(vectors)


def embed(store: VectorStore, keys: np.ndarray, read: Callable[[np.ndarray], list[str]], model, batch_size: int,
          processes: Processes, description: str = "Embedding", key: str = "dense_model",
          size: int | None = None) -> Vectors:
    """Embeds those texts that the store lacks, shard by shard, every process its part.

    Args:
        store (`VectorStore`): Of this model and a prompt.
        keys (`np.ndarray`): (texts,), from `text_keys`.
        read (`Callable`): From places among the texts to the texts themselves.
        model (`SentenceTransformer`): The model.
        batch_size (`int`): Texts per forward pass.
        processes (`Processes`): Share the work.
        description (`str`): Stands in front of the bar.
        key (`str`): The recipe's key that names the model.
        size (`int`, *optional*): Texts per shard, which is what a kill may cost and what the bar moves by. By default
            a sixteenth of all texts, within 256 and 8,192; not of the missing ones, whose number changes after a kill.

    Returns:
        `Vectors`: of all the texts, in the order of the keys.
    """
    missing, size = store.missing(keys), size or min(SHARD, max(LEAST, -(-len(keys) // PARTS)))
    shards = [missing[first: first + size] for first in range(0, len(missing), size)]
    if shards:
        paths = [store.path(keys[places]) for places in shards]
        with processes.together():
            for number in processes.share(paths, [len(places) for places in shards], description, "text"):
                places = shards[number]
                vectors = encode(model, read(places), store.prompt, batch_size, progress=False, key=key)
                store.add(keys[places], vectors)
        store.refresh()
    return store.of(keys)


def encode_cached(folder: Path, digest: str, model, texts: list[str], prompt: str, batch_size: int) -> np.ndarray:
    """`encode`, kept in `folder` by the model's digest and dtype, the prompt and each text; float32, (texts, dim)."""
    store = VectorStore(folder, digest, str(model.dtype), prompt)
    vectors = embed(store, text_keys(texts), lambda places: [texts[p] for p in places], model, batch_size,
                    Processes(store.folder / ".failed"))
    return vectors[:].astype(np.float32)
