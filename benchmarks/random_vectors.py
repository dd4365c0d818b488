"""The search of the score stage among random vectors: time and memory at the size of a large corpus."""

import shutil
from pathlib import Path


def write(folder: str, count: int, dim: int) -> None:
    """Random unit vectors, float16, as shards of a store."""
    import numpy as np

    from anna_embed.teacher.dense import SHARD
    from anna_embed.teacher.vectors import VectorStore, text_keys

    draw, store = np.random.default_rng(0), VectorStore(Path(folder), f"random {count} {dim}", "float32", "")
    keys = text_keys(map(str, range(count)))
    for first in range(0, count, SHARD) if len(store.missing(keys)) else ():
        vectors = draw.standard_normal((len(keys[first: first + SHARD]), dim), np.float32)
        store.add(keys[first: first + SHARD], vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def find(folder: str, count: int, dim: int, queries: int, k: int, memory_gb: float) -> dict[str, float]:
    """The search of the stage score over the vectors of `write`, from disk to the indices on disk."""
    import numpy as np

    from anna_embed.teacher.nearest import search
    from anna_embed.teacher.shards import Processes
    from anna_embed.teacher.vectors import VectorStore, text_keys
    from benchmarks.miners import held_gb, measured

    asked = np.random.default_rng(1).normal(size=(queries, dim)).astype(np.float16)
    work = Path(folder, ".search")
    shutil.rmtree(work, ignore_errors=True)
    processes = Processes(work / ".failed")
    start_gb = held_gb()

    def run():
        store = VectorStore(Path(folder), f"random {count} {dim}", "float32", "")
        found = search(asked, store.of(text_keys(map(str, range(count)))), k, memory_gb, work, processes)
        assert found.shape == (queries, k)

    figures = measured(run, start_gb)
    return {key: value for key, value in figures.items() if key != "parts"}
