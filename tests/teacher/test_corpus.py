"""Passages by their place in the order of their ids."""

import pytest
from datasets import Dataset, concatenate_datasets

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
    assert len(corpus) == 8 and corpus.id_column(range(8)).to_pylist() == SORTED
    assert corpus.texts([7, 0, 0]) == ["text of é", "text of 10", "text of 10"]
    assert list(corpus.all_texts()) == [f"text of {i}" for i in SORTED]
    assert corpus.keys.tolist() == text_keys([f"text of {i}" for i in SORTED]).tolist()
    assert corpus.places(["d", "Z", "nobody", "d"]) == {"d": 6, "Z": 2}
    assert corpus.mean_bytes == sum(len(f"text of {i}".encode()) for i in SORTED) / 8


@pytest.mark.parametrize("size", [1, 3, 100])
def test_columns_in_chunks(size):
    """A corpus on disk has many chunks; if this fails, candidates get the texts of others, or the whole is copied."""
    parts = [Dataset.from_list(ROWS[n: n + size], features=CORPUS) for n in range(0, len(ROWS), size)]
    corpus = Corpus(concatenate_datasets(parts))
    assert corpus.rows.data.column("text").num_chunks == len(parts)
    places = [6, 0, 3, 3, 7, 1]
    assert corpus.text_column(places).to_pylist() == [f"text of {SORTED[p]}" for p in places]
    assert corpus.id_column(places).to_pylist() == [SORTED[p] for p in places]
    assert corpus.text_column([]).to_pylist() == corpus.id_column([]).to_pylist() == []


def test_what_is_no_corpus():
    """An id that names two passages would give one the other's scores."""
    with pytest.raises(RecipeError, match="pairs: the corpus holds two passages of the id 'b'"):
        made([*ROWS, {"id": "b", "text": "other"}])
    with pytest.raises(RecipeError, match="pairs: a corpus without passages"):
        made([])
