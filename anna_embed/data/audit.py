"""Which training rows occur in a test set: exact match of normalised text."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

from datasets import Dataset

from anna_embed.data.load import check_utf_8, load_rows
from anna_embed.data.rows import lookup_table
from anna_embed.data.texts import INVISIBLE
from anna_embed.located import Located
from anna_embed.parsing import RecipeError

REPEATS = 20  # a column whose texts occur this often each, on average, holds labels,
SHORT = 3  # if they have no more words than this, on average: judgements repeat their queries as often
# Four characters in a row of a script that puts no space between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]{4}")


def normalise(text: str) -> str:
    """Case, Unicode form, white space and invisible characters do not make another text."""
    if not text.isascii():
        text = INVISIBLE.sub("", text)
        for _ in range(2):  # folding can leave a form that composes again
            text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(text.lower().split())


def fingerprint(text: str) -> bytes:
    """Eight bytes that stand for a normalised text; two of 10^8 texts share them with a chance of about 3e-4."""
    return hashlib.blake2b(normalise(text).encode(), digest_size=8).digest()


def texts_of_test_set(at: Located, test_set: dict[str, str]) -> list[str]:
    """The texts of a test set (`{path, config, split}`) that no training row may hold.

    In BEIR's shape the split holds judgements: then these are the judged queries. The passages are not among them,
    because test and training queries search the same ones.

    Raises:
        [`RecipeError`]: there is no such config or split, or no text in it.
    """
    rows = load_rows("test_sets", at, test_set.get("config"), test_set.get("split", "test"))
    if "query-id" in rows.column_names:
        queries = lookup_table("test_sets", at, {"config": "queries", "split": "queries", "id": "_id", "text": "text"})
        texts = [queries[i] for i in set(map(str, rows["query-id"][:])) if i in queries]
    else:
        for column in rows.column_names:
            check_utf_8("test_sets", at, rows, column)
        texts = list(all_texts(rows))
    if not texts:
        raise RecipeError(f"test_sets: {test_set!r} holds no text, only {', '.join(rows.column_names)}; name a config "
                          "and split that hold texts.")
    return texts


def all_texts(rows: Dataset) -> Iterator[str]:
    """Every text in the rows of a test set, however nested.

    Ids, languages and most labels are single words, and a column that repeats few short texts over and over holds
    labels too. Where most are longer, a single word is a text like the others ("quiet" among MASSIVE's utterances).
    """
    for column in rows.column_names:
        strings = [text for text in _strings(rows[column][:]) if text.strip()]
        texts = [text for text in strings if len(text.split()) > 1 or UNSPACED.search(text)]
        distinct = set(texts)
        short = sum(len(text.split()) for text in distinct) <= SHORT * len(distinct)
        if not short or len(distinct) * REPEATS > len(texts):
            yield from strings if 2 * len(texts) > len(strings) else texts


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inside in value.values() if isinstance(value, dict) else value:
            yield from _strings(inside)


class Protected:
    """The texts of all test sets of a recipe, by fingerprint, and the names of the sets that each belongs to.

    Args:
        drop (`bool`): Training rows that hold one are dropped; else they are counted.
    """

    def __init__(self, drop: bool = True):
        self.drop, self.names, self._held_out = drop, {}, None

    @property
    def held_out(self) -> "Protected":
        """Those of them that no training row may hold even if test sets are only counted."""
        self._held_out = self._held_out or Protected()
        return self._held_out

    def add(self, name: str, texts: Iterable[str], always: bool = False) -> None:
        """Learns the texts of a test set, or, with `always`, of held-out rows."""
        alone, texts = (name,), list(texts)  # one tuple for millions of texts
        if always:
            self.held_out.add(name, texts)
        for text in texts:
            mark = fingerprint(text)
            names = self.names.get(mark, ())
            if name not in names:
                self.names[mark] = names + alone if names else alone

    def owners(self, text: str) -> tuple[str, ...]:
        """The test sets that `text` occurs in, in the order in which they were added."""
        return self.names.get(fingerprint(text), ()) if self.names else ()

    def owner(self, text: str) -> str | None:
        """The first test set that `text` occurs in, or None."""
        return next(iter(self.owners(text)), None)


def drop_protected(pairs: list[dict], kind: str, protected: Protected) -> tuple[list[dict], Counter, int]:
    """Drops every pair whose query or positive occurs in a test set, and every such negative.

    The label texts of a classification task are shared by nature; there only the query counts.

    Returns:
        `tuple[list[dict], Counter, int]`: the pairs left, how many were dropped by reason, how many negatives went.
    """
    texts = {text for pair in pairs for text in (*_own(pair, kind), *_negatives(pair, kind))}  # each looked up once
    owners = {text: owner for text in texts if (owner := protected.owner(text))}
    kept, dropped, gone = [], Counter(), 0
    for pair in pairs:
        owner = next((owners[text] for text in _own(pair, kind) if text in owners), None)
        if owner:
            dropped[f"text occurs in the test set {owner}"] += 1
            continue
        bad = {text for text in _negatives(pair, kind) if text in owners}
        negatives = [n for n in pair["negatives"] if n not in bad]
        gone += len(pair["negatives"]) - len(negatives)
        kept.append({**pair, "negatives": negatives})
    return kept, dropped, gone


def overlaps(pairs: list[dict], kind: str, protected: Protected) -> Counter:
    """How many pairs share their query or positive with each test set; one pair may share with several."""
    names = {text: protected.owners(text) for pair in pairs for text in _own(pair, kind)}
    return Counter(f"pairs that share a text with the test set {name}" for pair in pairs
                   for name in dict.fromkeys(name for text in _own(pair, kind) for name in names[text]))


def _own(pair, kind):
    return [pair["query"]] if kind == "classification" else [pair["query"], pair["positive"]]


def _negatives(pair, kind):
    return [] if kind == "classification" else pair["negatives"]
