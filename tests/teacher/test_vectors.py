"""Vectors on disk: found by their text, never made twice, whoever wrote them and in whatever order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anna_embed.teacher import vectors
from anna_embed.teacher.vectors import VectorStore, text_keys


def vector(text):
    return np.array([len(text), sum(map(ord, text)) % 97, ord(text[0])], np.float16)


def filled(folder, *shards):
    store = VectorStore(folder, "digest", "float32", "")
    for texts in shards:
        store.add(text_keys(texts), np.stack([vector(t) for t in texts]))
    store.refresh()
    return store


WORDS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(WORDS, WORDS, WORDS)
def test_each_text_has_its_own_vector(tmp_path_factory, one, two, asked):
    """If this fails, a passage is scored by the vector of another."""
    store = filled(tmp_path_factory.mktemp("store"), one, two)
    keys, there = text_keys(asked), {*one, *two}
    missing = [asked[place] for place in store.missing(keys)]
    assert len(missing) == len(set(missing)) and set(missing) == set(asked) - there
    assert missing == sorted(missing, key=asked.index)  # the first place of each, in order
    known = [text for text in asked if text in there]
    assert store.of(text_keys(known))[:].tolist() == [vector(t).tolist() for t in known]


def test_vectors_stay_theirs_when_others_are_added(tmp_path):
    """If this fails, passages are scored by vectors of queries that were embedded after them, in the same store."""
    texts = [f"text {n}" for n in range(4)]
    store = filled(tmp_path, texts)
    kept = store.of(text_keys(texts))
    assert len(kept[:]) == 4  # read once, so that files are open
    for n in range(20):  # shards that sort before and behind the first
        store.add(text_keys([f"other {n}"]), vector(f"other {n}")[None])
    store.refresh()
    assert kept[:].tolist() == [vector(t).tolist() for t in texts]
    assert store.of(text_keys(["other 7"]))[:].tolist() == [vector("other 7").tolist()]


def test_slices_and_indices_read_what_they_name(tmp_path, monkeypatch):
    """Across shards, forwards and backwards, with no more than two files open."""
    monkeypatch.setattr(vectors, "OPEN", 2)
    texts = [f"text {n}" for n in range(20)]
    store = filled(tmp_path, *(texts[n: n + 3] for n in range(0, 20, 3)))
    kept, expected = store.of(text_keys(texts)), np.stack([vector(t) for t in texts])
    assert len(kept) == 20 and kept[:].dtype == np.float16
    assert kept[4:11].tolist() == expected[4:11].tolist()
    places = np.array([19, 0, 7, 7, 3])
    assert kept[places].tolist() == expected[places].tolist()
    assert len(store._open) == 2


def test_a_shard_that_was_killed_is_not_there(tmp_path):
    """Half-written files are no vectors; what they were for is made again."""
    store = filled(tmp_path, ["a", "b"])
    path = store.path(text_keys(["c"]))
    np.save(path.with_name(path.name.replace(".vectors.", ".keys.")), text_keys(["c"]))  # killed behind the keys
    path.with_suffix(".123.tmp").write_bytes(b"half")
    store.refresh()
    assert store.missing(text_keys(["a", "b", "c"])).tolist() == [2]


def test_what_a_key_stands_for(tmp_path):
    """Model, type and prompt have folders of their own; texts that differ by a space or a zero byte differ."""
    folders = {VectorStore(tmp_path, *names).folder for names in (
        ("a", "float32", ""), ("a", "bfloat16", ""), ("a", "float32", "query: "), ("b", "float32", ""))}
    assert len(folders) == 4
    assert len(np.unique(text_keys(["a", "a ", " a", "a\0", "A", ""]))) == 6
    assert text_keys(["a", "a"])[0] == text_keys(["a"])[0] and text_keys([]).shape == (0,)


def test_keys_that_end_in_zero_bytes(tmp_path):
    """numpy takes zeros at the end of such strings for padding; one digest in 256 ends in one."""
    keys = np.array([b"x" * 15 + b"\0", b"x" * 15 + b"y", b"x" * 14 + b"\0\0"], "S16")
    store = VectorStore(tmp_path, "digest", "float32", "")
    store.add(keys, np.eye(3))
    store.refresh()
    assert store.rows(keys[::-1]).tolist() == [2, 1, 0]


def test_an_empty_store(tmp_path):
    """The first run of all."""
    store = VectorStore(tmp_path / "none", "digest", "float32", "")
    assert store.missing(text_keys(["b", "a", "b"])).tolist() == [0, 1]
    with pytest.raises(IndexError):
        store.take(np.array([0]))
