"""The candidates of many pairs as flat arrays, one pair behind the other: no loop over rows, few strings of Python."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anna_embed.parsing import RecipeError
from anna_embed.schema import TEACHERS


@dataclass
class Candidates:
    """The candidates of some pairs, n in all.

    Args:
        pair (`np.ndarray`): (n,), ascending: which pair each belongs to; a pair has one at least.
        ids (`pa.StringArray`): (n,); they settle ties, so that the order of a pair's candidates does not matter.
        is_positive (`np.ndarray`): (n,) bool; every positive of the query, so that none is ever chosen.
        own (`np.ndarray`): (pairs,), index of each pair's own positive; -1 if it has none.
        place (`np.ndarray`): (n,), where each is in the values of the scores' columns.
    """

    pair: np.ndarray
    ids: pa.StringArray
    is_positive: np.ndarray
    own: np.ndarray
    place: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """Index of each pair's first candidate."""
        return np.searchsorted(self.pair, np.arange(len(self.own)))

    def best_first(self, scores: np.ndarray, some: np.ndarray) -> np.ndarray:
        """Those of the indices `some` (ascending), pair by pair, by score, ties by id."""
        pair, scores = self.pair[some], scores[some]
        order = np.lexsort((-scores, pair))
        equal = (pair[order][1:] == pair[order][:-1]) & (scores[order][1:] == scores[order][:-1])
        if equal.any():  # ids are compared where they must be
            tied = order[np.append(equal, False) | np.append(False, equal)]
            rank = np.zeros(len(some), np.int64)
            rank[tied[pc.sort_indices(self.ids.take(pa.array(some[tied]))).to_numpy()]] = np.arange(len(tied))
            order = np.lexsort((rank, -scores, pair))
        return some[order]


def candidates_of(positive_ids: list[str], scored: pa.Table, rows: np.ndarray) -> Candidates:
    """The candidates of pairs.

    Args:
        positive_ids (`list[str]`): Of each pair.
        scored (`pa.Table`): `schema.SCORES`, in one chunk.
        rows (`np.ndarray`): (pairs,), each pair's row of it.
    """
    sizes = scored["candidate_ids"].chunk(0).value_lengths().to_numpy()
    first, sizes = (np.cumsum(sizes) - sizes)[rows], sizes[rows]
    pair = np.repeat(np.arange(len(rows)), sizes)
    place = np.arange(len(pair)) + np.repeat(first - (np.cumsum(sizes) - sizes), sizes)
    ids = values(scored, "candidate_ids").take(pa.array(place))
    found = np.flatnonzero(pc.equal(ids, pa.array(positive_ids, ids.type).take(pa.array(pair))))
    own = np.full(len(rows), -1)
    own[pair[found]] = found
    return Candidates(pair, ids, values(scored, "is_positive").to_numpy(zero_copy_only=False)[place], own, place)


def check_lengths(scored: pa.Table) -> None:
    """Raises [`RecipeError`] unless all lists of a query are as long as that of its candidates' ids, as all that is
    behind a shorter one would be taken for that of another passage."""
    sizes = scored["candidate_ids"].chunk(0).value_lengths().to_numpy()
    for name in ("candidates", "is_positive", *TEACHERS):
        others = scored[name].chunk(0).value_lengths().to_numpy()
        for row in np.flatnonzero(sizes != others)[:1]:
            raise RecipeError(f"scores: query '{scored['query'][row].as_py()[:80]}' has {sizes[row]} candidate_ids "
                              f"and {others[row]} values of {name}; delete that artifact and run the score stage "
                              "again.")


def values(scored: pa.Table, name: str) -> pa.Array:
    """The values of a column of lists, one list behind the other."""
    return scored[name].chunk(0).flatten()


def lists(values: pa.Array, sizes: np.ndarray) -> pa.ListArray:
    """Values as lists of these sizes."""
    return pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(sizes)), pa.int32()), values)
