"""Which texts of a training source repeat a text of an evaluation set, or nearly."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

import numpy as np

from anna_embed.data.audit import normalise
from anna_embed.data.shingles import CHARACTERS, Index, Keys, minhash_bands, word_grams

CONTAINED = 0.9  # share of the shorter text's n-grams that the other has: all of them in a short one
NEAR = 0.8  # Jaccard similarity of the sets of shingles
LEAST = 2  # n-grams of a text at least: one of six words or more can be contained in another
KINDS = ("exact", "contained", "near")
BATCH = 2000  # training texts at once
WORD = re.compile(r"\w+")


@dataclass
class Overlap:
    """What one training source has of one evaluation set.

    Args:
        source, evaluation (`str`): Their names.
        texts (`Counter`): Distinct training texts by the closest kind of match.
        found (`set[int]`): Places of the evaluation texts that are matched.
        of (`int`): Distinct evaluation texts.
        examples (`dict`): The first pair of texts of each kind.
    """

    source: str
    evaluation: str
    of: int
    texts: Counter = field(default_factory=Counter)
    found: set[int] = field(default_factory=set)
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)

    def as_row(self) -> dict:
        return {"source": self.source, "evaluation": self.evaluation, **{kind: self.texts[kind] for kind in KINDS},
                "evaluation_texts_found": len(self.found), "evaluation_texts": self.of, "examples": self.examples}


class EvaluationTexts:
    """All texts of all evaluation sets, indexed; it takes about 150 bytes a word.

    Texts match exactly if their words are the same, whatever their case, punctuation and white space; one is contained
    in the other if 90 % of its word 5-grams are there; they are near if the Jaccard similarity of their character
    5-grams, without white space and punctuation, is 0.8: MinHash finds 99.8 % of these or more, and each find is
    checked.

    Args:
        sets (`dict[str, Iterable[str]]`): Texts by evaluation set.
    """

    def __init__(self, sets: dict[str, Iterable[str]]):
        self.names, self.texts, self.owners, places = list(sets), [], [], {}
        for owner, texts in enumerate(sets.values()):
            for text in texts:
                letters = " ".join(WORD.findall(normalise(text)))
                if letters and letters not in places:
                    places[letters] = len(self.texts)
                    self.texts.append(text)
                    self.owners.append(set())
                if letters:
                    self.owners[places[letters]].add(owner)
        self.places, self.words = places, [letters.split() for letters in places]
        grams = Keys.joined(word_grams, self.words, BATCH)
        self.sizes, self.grams = grams.counts(len(self.texts)), Index(grams)
        self.bands = Index(Keys.joined(minhash_bands, ["".join(words) for words in self.words], BATCH))

    def sizes_by_set(self) -> list[int]:
        return [sum(owner in owners for owners in self.owners) for owner in range(len(self.names))]

    def matches(self, texts: list[str]) -> list[dict[int, str]]:
        """For each text the places of the evaluation texts that it matches, with the closest kind of match."""
        words = [WORD.findall(normalise(text)) for text in texts]
        found = [{} for _ in texts]
        for text, of_text in enumerate(words):
            place = self.places.get(" ".join(of_text)) if of_text else None
            if place is not None:
                found[text][place] = "exact"
        for text, place in self._contained(words):
            found[text].setdefault(place, "contained")
        for text, place in self._near(words):
            found[text].setdefault(place, "near")
        return found

    def _contained(self, words) -> Iterator[tuple[int, int]]:
        grams = word_grams(words)
        texts, places, shared = self.grams.shared(grams, max(len(self.texts), 1))
        shorter = np.minimum(grams.counts(len(words))[texts], self.sizes[places])
        good = (shorter >= LEAST) & (shared >= CONTAINED * shorter)
        yield from zip(texts[good].tolist(), places[good].tolist())

    def _near(self, words) -> Iterator[tuple[int, int]]:
        letters = ["".join(of_text) for of_text in words]
        texts, places, _ = self.bands.shared(minhash_bands(letters), max(len(self.texts), 1))
        for text, place in zip(texts.tolist(), places.tolist()):
            if jaccard(letters[text], "".join(self.words[place])) >= NEAR:
                yield text, place


@lru_cache(maxsize=10_000)
def _shingles(letters):
    return frozenset(letters[n: n + CHARACTERS] for n in range(len(letters) - CHARACTERS + 1))


def jaccard(left: str, right: str) -> float:
    """Jaccard similarity of the sets of character 5-grams."""
    left, right = _shingles(left), _shingles(right)
    return len(left & right) / max(len(left | right), 1)


def overlaps(source: str, texts: Iterable[str], evaluation: EvaluationTexts) -> tuple[list[Overlap], int]:
    """One training source, read once and a batch at a time, against every evaluation set.

    Args:
        source (`str`): Its name.
        texts (`Iterable[str]`): Its texts; each counts once.
        evaluation (`EvaluationTexts`): What must not be among them.

    Returns:
        `tuple[list[Overlap], int]`: the sets with any overlap, and the number of distinct training texts.
    """
    table = [Overlap(source, name, of) for name, of in zip(evaluation.names, evaluation.sizes_by_set())]
    seen = set()
    stream = (text for text in texts if not (hash(text) in seen or seen.add(hash(text))))
    while batch := list(islice(stream, BATCH)):
        for text, found in zip(batch, evaluation.matches(batch)):
            by_set = {}
            for place, kind in found.items():
                for owner in evaluation.owners[place]:
                    by_set.setdefault(owner, []).append((KINDS.index(kind), place))
            for owner, hits in by_set.items():
                closest, place = min(hits)
                table[owner].texts[KINDS[closest]] += 1
                table[owner].found |= {place for _, place in hits}
                table[owner].examples.setdefault(KINDS[closest], (text, evaluation.texts[place]))
    return [overlap for overlap in table if overlap.found], len(seen)


def show(rows: list[dict]) -> str:
    """The overlaps as a table for reading: most texts first, with an example of each kind of match."""
    if not rows:
        return "No training text repeats an evaluation text."
    cells = [("TRAINING SOURCE", "EVALUATION SET", *map(str.upper, KINDS), "EVALUATION TEXTS")]
    rows = sorted(rows, key=lambda row: -sum(row[kind] for kind in KINDS))
    cells += [(row["source"], row["evaluation"], *(f"{row[kind]:,}" for kind in KINDS),
               f"{row['evaluation_texts_found']:,} of {row['evaluation_texts']:,}") for row in rows]
    widths = [max(len(row[n]) for row in cells) for n in range(len(cells[0]))]
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row[:2], widths)),
                        *(cell.rjust(w) for cell, w in zip(row[2:], widths[2:]))]) for row in cells]
    return "\n".join(line.rstrip() for line in lines)
