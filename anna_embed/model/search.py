"""The nearest texts of a corpus, exactly: vectors are made once, kept in a file, and read a part at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from anna_embed.model.loader import Loader, check_prompt_name
from anna_embed.model.text_files import STDIN, TextFile, open_texts
from anna_embed.model.vector_files import write_vectors
from anna_embed.parsing import RecipeError

PART = 2**16  # vectors scored at a time: 150 MB of 576 float32 numbers each
WIDTH = 160  # characters of a hit that are shown


@dataclass(frozen=True)
class Hit:
    """A text of the corpus, and how near it is to the query by the model's own similarity."""

    score: float
    id: str
    text: str


def search(corpus: str, queries: list[str], vectors: str | None, column: str | None, load: Loader,
           prompt_name: str | None, top_k: int, batch_size: int) -> Iterator[tuple[str, list[Hit]]]:
    """The nearest texts of each query.

    Args:
        corpus (`str`): A `.txt` or `.jsonl` file.
        queries (`list[str]`): What is looked for.
        vectors (`str`, *optional*): The `.npy` file that keeps the corpus' vectors; `<corpus>.npy` by default. It is
            made if it is not there, and again if the corpus, the model or an option has changed.
        column (`str`, *optional*): Where the text stands in each object.
        load ([`Loader`]): The model, and how it encodes the corpus.
        prompt_name (`str`, *optional*): The queries' stored prompt; that of `encode_query` by default.
        top_k (`int`): Texts for each query.
        batch_size (`int`): As for `encode`.

    Raises:
        [`RecipeError`]: a text, the model or an option is not what it must be.
    """
    if corpus == STDIN or not (vectors or ".npy").endswith(".npy"):
        raise RecipeError(f"corpus: '{corpus}' with vectors in '{vectors or ''}' is not possible; give a .jsonl or "
                          ".txt file, and an .npy file for its vectors.")
    if top_k < 1:
        raise RecipeError(f"top_k: {top_k} is not possible; write 1 or more.")
    kept = vectors or f"{corpus}.npy"
    texts = open_texts("corpus", corpus, column, Path())
    if prompt_name is not None:
        check_prompt_name(load(), prompt_name)  # before hours of work
    write_vectors("corpus", corpus, kept, column, load, batch_size)
    model = load()
    asked = model.encode_query(queries, prompt_name=prompt_name, truncate_dim=load.how.truncate_dim)
    scores, numbers = nearest(model, asked, np.load(kept, mmap_mode="r"), top_k)
    found = _read(texts, set(numbers.ravel().tolist()))
    for query, line, which in zip(queries, scores.tolist(), numbers.tolist()):
        yield query, [Hit(score, *found[number]) for score, number in zip(line, which)]


def nearest(model, queries: np.ndarray, vectors: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and numbers of the nearest vectors, best first, each of shape (queries, k); of equals the first ones."""
    scores, numbers = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), PART):
        part = np.asarray(vectors[start: start + PART])
        scores = np.concatenate([scores, model.similarity(queries, part).cpu().numpy()], axis=1)
        here = np.broadcast_to(np.arange(start, start + len(part)), (len(queries), len(part)))
        numbers = np.concatenate([numbers, here], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
        scores, numbers = np.take_along_axis(scores, best, axis=1), np.take_along_axis(numbers, best, axis=1)
    return scores, numbers


def show(query: str, hits: list[Hit]) -> str:
    """A query and its hits, to be read in a terminal."""
    wide = max(len(hit.id) for hit in hits)
    lines = [f"{place:3}. {hit.score:7.4f}  {hit.id:{wide}}  {_shortened(hit.text)}"
             for place, hit in enumerate(hits, start=1)]
    return "\n".join([query, *lines])


def _shortened(text):
    """On one line of at most `WIDTH`; `textwrap.shorten` leaves nothing of a text without spaces."""
    text = " ".join(text.split())
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 4].rstrip()} ..."


def _read(texts: TextFile, numbers: set[int]) -> dict[int, tuple[str, str]]:
    """Some texts by number, in one pass that ends after the last of them."""
    return {n: row for n, row in enumerate(islice(texts, max(numbers) + 1)) if n in numbers}
