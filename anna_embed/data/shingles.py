"""Texts as sets of 64-bit keys, many at once: word n-grams, and the bands of MinHash signatures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

WORDS = 5  # of an n-gram
CHARACTERS = 5  # of a shingle
BANDS, ROWS = 20, 6  # two texts of Jaccard similarity s share a band with probability 1 - (1 - s**6)**20: 0.998 at 0.8
PRIME = np.uint64(0x9E3779B97F4A7C15)
_draw = np.random.default_rng(42)
MULTIPLY = _draw.integers(0, 2**64, BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
ADD = _draw.integers(0, 2**64, BANDS * ROWS, dtype=np.uint64)


@dataclass
class Keys:
    """Keys of many texts.

    Args:
        texts (`np.ndarray`): (n,) the place of the text that each key belongs to, in ascending order.
        keys (`np.ndarray`): (n,) uint64.
    """

    texts: np.ndarray
    keys: np.ndarray

    @classmethod
    def joined(cls, keys_of: Callable[[list], "Keys"], texts: list, batch: int) -> "Keys":
        """Keys of more texts than fit into memory at once, by `keys_of` a batch."""
        parts = [(start, keys_of(texts[start: start + batch])) for start in range(0, len(texts), batch)]
        return cls(np.concatenate([start + part.texts for start, part in parts] or [np.zeros(0, np.int64)]),
                   np.concatenate([part.keys for _, part in parts] or [np.zeros(0, np.uint64)]))

    def counts(self, number: int) -> np.ndarray:
        """Keys of each of `number` texts."""
        return np.bincount(self.texts, minlength=number)


def _mixed(keys):
    """Splitmix64's last steps: keys that differ in one bit then differ in half of them."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _runs(items, texts, length):
    """Keys of all runs of `length` items that lie within one text."""
    size = max(len(items) - length + 1, 0)
    keys = np.zeros(size, np.uint64)
    for offset in range(length):
        keys = keys * PRIME + items[offset: offset + size]
    inside = texts[:size] == texts[length - 1:] if size else np.zeros(0, bool)
    return Keys(texts[:size][inside], _mixed(keys[inside]))


def _distinct(found):
    order = np.lexsort((found.keys, found.texts))
    texts, keys = found.texts[order], found.keys[order]
    new = np.ones(len(keys), bool)
    new[1:] = (keys[1:] != keys[:-1]) | (texts[1:] != texts[:-1])
    return Keys(texts[new], keys[new])


def word_grams(words: list[list[str]]) -> Keys:
    """The distinct n-grams of each list of words; none for lists that are shorter.

    Args:
        words (`list[list[str]]`): The words of each text.
    """
    texts = np.repeat(np.arange(len(words)), [len(w) for w in words])
    flat = np.array([word for of_text in words for word in of_text], dtype=object)
    hashed = pd.util.hash_array(flat, categorize=True) if len(flat) else np.zeros(0, np.uint64)
    return _distinct(_runs(hashed, texts, WORDS))


def minhash_bands(letters: list[str]) -> Keys:
    """For each text the keys of its MinHash bands; texts of Jaccard similarity 0.8 or more share at least one.

    A text with fewer characters than a shingle has no keys.

    Args:
        letters (`list[str]`): What is compared of each text: its letters and digits without white space.
    """
    codes = np.frombuffer("".join(letters).encode("utf-32-le"), np.uint32).astype(np.uint64)
    shingles = _distinct(_runs(codes, np.repeat(np.arange(len(letters)), [len(text) for text in letters]), CHARACTERS))
    if not len(shingles.keys):
        return shingles
    texts, starts = np.unique(shingles.texts, return_index=True)
    bands = np.zeros((len(texts), BANDS), np.uint64)
    for number, (factor, term) in enumerate(zip(MULTIPLY, ADD)):
        lowest = np.minimum.reduceat(_mixed(shingles.keys * factor + term), starts)
        bands[:, number // ROWS] = bands[:, number // ROWS] * PRIME + lowest
    bands = _mixed(bands * np.uint64(BANDS) + np.arange(BANDS, dtype=np.uint64))
    return Keys(np.repeat(texts, BANDS), bands.ravel())


class Index:
    """Finds which of its texts share keys with others.

    Args:
        indexed (`Keys`): Of the texts to be found.
    """

    def __init__(self, indexed: Keys):
        order = np.argsort(indexed.keys, kind="stable")
        self.texts, self.keys = indexed.texts[order], indexed.keys[order]

    def shared(self, asked: Keys, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs of texts that share keys: places of the asked, places of the indexed, and how many keys they share.

        Args:
            asked (`Keys`): Of the texts that are looked up.
            number (`int`): Texts in the index.
        """
        first = np.searchsorted(self.keys, asked.keys, "left")
        hits = np.searchsorted(self.keys, asked.keys, "right") - first
        within = np.arange(hits.sum()) - np.repeat(np.cumsum(hits) - hits, hits)
        found = self.texts[np.repeat(first, hits) + within]
        pairs, shared = np.unique(np.repeat(asked.texts, hits) * number + found, return_counts=True)
        return pairs // number, pairs % number, shared
