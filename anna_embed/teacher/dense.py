"""Dense scores: any SentenceTransformer, exact top-k."""

import hashlib
from pathlib import Path

import numpy as np

from anna_embed.parsing import RecipeError

QUERY_BLOCK, PASSAGE_BLOCK = 256, 16384  # scores and their sorting then take about 150 MB


def load(path: str, dtype: str = "float32", device: str | None = None):
    """A SentenceTransformer with weights of the given type."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(path, model_kwargs={"dtype": dtype}, device=device)


def encode(model, texts: list[str], prompt: str = "", batch_size: int = 64, progress: bool = True) -> np.ndarray:
    """L2-normalised float32 vectors of shape (texts, dim); the library sorts by length and shows progress.

    An empty prompt is passed on as such: None would put the model's own default prompt in front.

    Raises:
        [`RecipeError`]: a vector is NaN or infinite (its text would never be found, in silence).
    """
    vectors = model.encode(texts, prompt=prompt, batch_size=batch_size, normalize_embeddings=True,
                           convert_to_numpy=True, show_progress_bar=progress).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1)) if len(texts) else ()
    if len(bad):
        raise RecipeError(f"dense_model: the vector of the text {texts[bad[0]][:80]!r} is not finite; check that "
                          "model's weights, or use dtype: float32.")
    return vectors


def encode_cached(folder: Path, digest: str, model, texts: list[str], prompt: str, batch_size: int) -> np.ndarray:
    """`encode`, kept in `folder` by the model's digest and dtype, the prompt and the texts: nothing is done twice."""
    name = hashlib.sha256("\0".join([digest, str(model.dtype), prompt, *texts]).encode()).hexdigest()[:32]
    path = folder / f"{name}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp.npy")
        np.save(partial, encode(model, texts, prompt, batch_size))
        partial.rename(path)
    return np.load(path)


def top_k(queries: np.ndarray, passages: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k passages nearest to each query by dot product, exact, never a whole queries x passages matrix.

    Args:
        queries (`np.ndarray`): (q, dim).
        passages (`np.ndarray`): (n, dim).
        k (`int`): At most n are returned.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: indices and scores, each (q, min(k, n)), best first, ties by index.
    """
    k = min(k, len(passages))
    best_index, best_score = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), QUERY_BLOCK):
        block = queries[start: start + QUERY_BLOCK]
        index, score = np.empty((len(block), 0), np.int64), np.empty((len(block), 0), np.float32)
        for first in range(0, len(passages), PASSAGE_BLOCK):
            new = block @ passages[first: first + PASSAGE_BLOCK].T
            here = np.broadcast_to(np.arange(first, first + new.shape[1]), new.shape)
            index, score = np.concatenate([index, here], 1), np.concatenate([score, new], 1)
            order = np.argsort(-score, axis=1, kind="stable")[:, :k]
            index, score = np.take_along_axis(index, order, 1), np.take_along_axis(score, order, 1)
        best_index[start: start + len(block)], best_score[start: start + len(block)] = index, score
    return best_index, best_score
