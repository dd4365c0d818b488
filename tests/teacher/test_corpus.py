"""Passages by their place in the order of their ids."""

import pytest
from datasets import Dataset

from anna_embed.parsing import RecipeError
from anna_embed.schema import CORPUS
from anna_embed.teacher import corpus as module
from anna_embed.teacher.corpus import Corpus
from anna_embed.teacher.vectors import text_keys

ROWS = [{"id": name, "text": f"text of {name}"} for name in ("c", "a", "é", "d", "b", "Z", "10", "9")]
SORTED = ["10", "9", "Z", "a", "b", "c", "d", "é"]


def made(rows):
    return Corpus(Dataset.from_dict({name: [row[name] for row in rows] for name in CORPUS}, features=CORPUS))


@pytest.mark.parametrize("rows", [ROWS, ROWS[::-1]])
def test_places_do_not_depend_on_the_file(rows, monkeypatch):
    """If this fails, a corpus in another order has other ties, other shards and other negatives."""
    monkeypatch.setattr(module, "BLOCK", 3)
    corpus = made(rows)
    assert len(corpus) == 8 and corpus.ids(range(8)) == SORTED
    assert corpus.texts([7, 0, 0]) == ["text of é", "text of 10", "text of 10"]
    assert list(corpus.all_texts()) == [f"text of {i}" for i in SORTED]
    assert corpus.keys.tolist() == text_keys([f"text of {i}" for i in SORTED]).tolist()
    assert corpus.places(["d", "Z", "nobody", "d"]) == {"d": 6, "Z": 2}
    assert corpus.mean_bytes == sum(len(f"text of {i}".encode()) for i in SORTED) / 8


def test_what_is_no_corpus():
    """An id that names two passages would give one the other's scores."""
    with pytest.raises(RecipeError, match="pairs: the corpus holds two passages of the id 'b'"):
        made([*ROWS, {"id": "b", "text": "other"}])
    with pytest.raises(RecipeError, match="pairs: a corpus without passages"):
        made([])
