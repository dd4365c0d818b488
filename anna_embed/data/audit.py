"""Which training rows occur in a test set: exact match of normalised text."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable

from datasets import Dataset


def normalise(text: str) -> str:
    """Case, Unicode form and white space do not make another text."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def fingerprint(text: str) -> bytes:
    """Eight bytes that stand for a normalised text; two of 10^8 texts share them with a chance of about 3e-4."""
    return hashlib.blake2b(normalise(text).encode(), digest_size=8).digest()


def all_texts(rows: Dataset) -> Iterable[str]:
    """Every string in the rows of a test set, in whatever column, lists included, that is longer than one word.

    Labels, ids and languages are single words; the test set's texts are not.
    """
    for column in rows.column_names:
        for value in rows[column]:
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and len(text.split()) > 1:
                    yield text


class Protected:
    """The texts of all test sets of a recipe, by fingerprint, and the name of the set each belongs to."""

    def __init__(self):
        self.names: dict[bytes, str] = {}

    def add(self, name: str, texts: Iterable[str]) -> None:
        for text in texts:
            self.names.setdefault(fingerprint(text), name)

    def owner(self, *texts: str) -> str | None:
        """The test set that one of `texts` occurs in, or None."""
        return next((self.names[f] for f in map(fingerprint, texts) if f in self.names), None)


def drop_protected(pairs: list[dict], kind: str, protected: Protected) -> tuple[list[dict], Counter]:
    """Drops every pair whose query or positive occurs in a test set, and every such negative.

    The label texts of a classification task are shared by nature; there only the query counts.

    Returns:
        `tuple[list[dict], Counter]`: the pairs left, and how many were dropped by reason.
    """
    kept, dropped = [], Counter()
    for pair in pairs:
        texts = [pair["query"]] if kind == "classification" else [pair["query"], pair["positive"]]
        owner = protected.owner(*texts)
        if owner:
            dropped[f"text occurs in the test set {owner}"] += 1
            continue
        if kind != "classification":
            pair = {**pair, "negatives": [n for n in pair["negatives"] if not protected.owner(n)]}
        kept.append(pair)
    return kept, dropped
