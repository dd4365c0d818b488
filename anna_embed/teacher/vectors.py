"""Vectors on disk, found by the text they belong to: no text is embedded twice, in whatever run or task it occurs."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from anna_embed.writer import put

OPEN = 256  # shards mapped at a time: each holds a file descriptor


def text_keys(texts: Iterable[str]) -> np.ndarray:
    """128-bit digests of texts, `S16` of shape (texts,)."""
    return np.array([hashlib.blake2b(t.encode(), digest_size=16).digest() for t in texts], "S16")


class VectorStore:
    """All vectors of one model, type and prompt: float16 shards, memory-mapped, and the keys of their texts beside.

    A shard is named after the keys it holds and appears whole or not at all, so any number of processes may add.

    Args:
        folder (`Path`): Holds one folder per model, type and prompt.
        digest (`str`): Names the model's content (a commit, or a hash of its files).
        dtype (`str`): Of the model's weights.
        prompt (`str`): What stood in front of the texts.
    """

    def __init__(self, folder: Path, digest: str, dtype: str, prompt: str):
        name = hashlib.sha256("\0".join([digest, dtype, prompt]).encode()).hexdigest()[:24]
        self.folder, self.prompt = Path(folder) / name, prompt
        self.shards, self._open = [], OrderedDict()
        self.refresh()

    def refresh(self) -> None:
        """Takes note of the shards that are there; rows that were given out before stay what they were."""
        self.shards += sorted({*self.folder.glob("*.vectors.npy")} - {*self.shards})
        keys = [np.load(self._keys_of(shard)) for shard in self.shards]
        self.starts = np.cumsum([0, *map(len, keys)])
        keys = np.concatenate([np.empty(0, "S16"), *keys])
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def rows(self, keys: np.ndarray) -> np.ndarray:
        """Where the vectors of these texts are, int64 of shape (keys,); -1 for those not there."""
        if not len(self._sorted):
            return np.full(len(keys), -1)
        near = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[near] == keys, self._order[near], -1)

    def missing(self, keys: np.ndarray) -> np.ndarray:
        """The first place of each text that has no vector yet, ascending."""
        _, first = np.unique(keys, return_index=True)
        return np.sort(first[self.rows(keys[first]) < 0])

    def path(self, keys: np.ndarray) -> Path:
        """The file that a shard of these texts is kept in."""
        return self.folder / f"{hashlib.sha256(keys.tobytes()).hexdigest()[:24]}.vectors.npy"

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Writes a shard; `refresh` makes it readable.

        Args:
            keys (`np.ndarray`): (n,), from `text_keys`.
            vectors (`np.ndarray`): (n, dim); kept as float16.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(keys)
        for file, array in ((self._keys_of(path), keys), (path, vectors.astype(np.float16))):  # the vectors last
            partial = file.with_suffix(f".{os.getpid()}.tmp")
            with partial.open("wb") as stream:
                np.save(stream, array)
            put(partial, file)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Vectors by their rows, float16 of shape (rows, dim)."""
        of_shard = np.searchsorted(self.starts, rows, side="right") - 1
        vectors = np.empty((len(rows), self._map(of_shard[0]).shape[1] if len(rows) else 0), np.float16)
        for shard in np.unique(of_shard):
            here = of_shard == shard
            vectors[here] = self._map(shard)[rows[here] - self.starts[shard]]
        return vectors

    def of(self, keys: np.ndarray) -> "Vectors":
        """The vectors of these texts, all of which are there."""
        return Vectors(self, self.rows(keys))

    def _map(self, shard):
        """A shard's array, mapped; those longest unused are closed."""
        if shard not in self._open:
            self._open[shard] = np.load(self.shards[shard], mmap_mode="r")
        self._open.move_to_end(shard)
        while len(self._open) > OPEN:
            self._open.popitem(last=False)
        return self._open[shard]

    @staticmethod
    def _keys_of(path):
        return path.with_name(path.name.replace(".vectors.", ".keys."))


class Vectors:
    """A (n, dim) array of float16 that stays on disk; a slice or an array of indices reads what it names."""

    def __init__(self, store: VectorStore, rows: np.ndarray):
        self.store, self.rows = store, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: slice | np.ndarray) -> np.ndarray:
        return self.store.take(self.rows[places])
