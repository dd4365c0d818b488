"""The passages of a task, read from disk as they are needed, in an order that depends on their ids only."""

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from anna_embed.parsing import RecipeError
from anna_embed.teacher.vectors import text_keys

BLOCK = 16384  # texts in memory at a time


class Corpus:
    """A memory-mapped corpus; a *place* is a passage's position when all are sorted by id.

    Places, not rows of the file, settle ties and cut shards: the same passages in another order give the same scores.

    Args:
        rows (`Dataset`): `id` and `text` (`schema.CORPUS`).

    Raises:
        [`RecipeError`]: there is no passage, or an id names two.
    """

    def __init__(self, rows: Dataset):
        if not len(rows):
            raise RecipeError("pairs: a corpus without passages; make the pairs again with recipes.convert.")
        self.rows = rows
        self._ids = rows.data.column("id").cast(pa.large_string()).combine_chunks()
        self.order = pc.sort_indices(self._ids).to_numpy().astype(np.int64)
        ids = self._ids.take(pa.array(self.order))
        twice = pc.indices_nonzero(pc.equal(ids[1:], ids[:-1]))
        if len(twice):
            raise RecipeError(f"pairs: the corpus holds two passages of the id '{ids[twice[0].as_py()]}'; an id names "
                              "one, so mend the corpus.")

    def __len__(self) -> int:
        return len(self.order)

    def texts(self, places: Iterable[int]) -> list[str]:
        return self.text_column(places).to_pylist()

    def id_column(self, places: Iterable[int]) -> pa.StringArray:
        return self._ids.take(pa.array(self.order[np.asarray(places, np.int64)])).cast(pa.string())

    def text_column(self, places: Iterable[int]) -> pa.StringArray:
        """As `texts`, as a column; chunk by chunk, because arrow may copy a whole column to take some of its rows."""
        rows = self.order[np.asarray(places, np.int64)]
        ascending = np.argsort(rows, kind="stable")
        chunks, starts = self._texts
        cuts = np.searchsorted(rows[ascending], starts)
        parts = [chunk.take(pa.array(rows[ascending[first:last]] - start))
                 for chunk, start, first, last in zip(chunks, starts, cuts, cuts[1:]) if first < last]
        back = np.empty_like(ascending)
        back[ascending] = np.arange(len(rows))
        return pa.concat_arrays(parts).take(pa.array(back)) if parts else pa.array([], pa.string())

    @cached_property
    def _texts(self):
        """The column's chunks, and the row at which each starts, the end behind them."""
        chunks = self.rows.data.column("text").chunks
        return chunks, np.cumsum([0, *map(len, chunks)])

    def all_texts(self) -> Iterator[str]:
        """Every text, in the order of the places, a block in memory at a time."""
        for first in range(0, len(self), BLOCK):
            yield from self.texts(np.arange(first, min(first + BLOCK, len(self))))

    @cached_property
    def keys(self) -> np.ndarray:
        """What the texts are stored by (`vectors.text_keys`), (passages,)."""
        blocks = (np.arange(first, min(first + BLOCK, len(self))) for first in range(0, len(self), BLOCK))
        return np.concatenate([text_keys(self.texts(block)) for block in blocks])

    def places(self, ids: Iterable[str]) -> dict[str, int]:
        """The places of those ids that the corpus holds."""
        wanted = pa.array(sorted(set(ids)), self._ids.type)
        found = pc.index_in(self._ids, value_set=wanted)
        rows = np.flatnonzero(pc.is_valid(found).to_numpy(zero_copy_only=False))
        place_of_row = np.empty(len(self), np.int64)
        place_of_row[self.order] = np.arange(len(self))
        return dict(zip(self._ids.take(pa.array(rows)).to_pylist(), place_of_row[rows].tolist()))

    @property
    def mean_bytes(self) -> float:
        """Mean length of a text in bytes."""
        return pc.sum(pc.binary_length(self.rows.data.column("text"))).as_py() / len(self)
