"""Shards among processes: each shard to one of them, and what one finds wrong to all."""

from functools import partial
from types import SimpleNamespace

import pytest
from datasets import Features, Value, load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tqdm import tqdm

from anna_embed.parsing import RecipeError
from anna_embed.teacher import shards
from anna_embed.teacher.shards import Processes


def process(note, index=0, count=1):
    """One of several, that need not wait for the others."""
    made = Processes(note)
    made.state = SimpleNamespace(process_index=index, num_processes=count, is_main_process=index == 0,
                                 wait_for_everyone=lambda: None)
    return made


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 20), st.integers(1, 5), st.sets(st.integers(0, 19)))
def test_each_shard_to_one_process(tmp_path_factory, number, count, done):
    """If this fails, work is done twice, or not at all."""
    folder = tmp_path_factory.mktemp("shards")
    paths = [folder / str(n) for n in range(number)]
    for n in done:
        (folder / str(n)).touch()
    taken = [list(process(folder / "note", index, count).share(paths, [1] * number, "Testing", "item"))
             for index in range(count)]
    assert sorted(sum(taken, [])) == sorted(set(range(number)) - done)


def test_what_one_finds_wrong_stops_the_others(tmp_path):
    """If this fails, the others work on for hours, and then nobody says what was wrong."""
    note, paths = tmp_path / "work" / "note", [tmp_path / str(n) for n in range(4)]
    with pytest.raises(RecipeError, match="the sentence"), process(note, 1, 2).together():
        raise RecipeError("the sentence")
    assert list(process(note, 1, 2).share(paths, [1] * 4, "Testing", "item")) == []
    with pytest.raises(RecipeError, match="the sentence"):
        with process(note, 1, 2).together():  # which finds nothing wrong itself
            pass
    with process(note, 0, 2).together():  # the next run's: an old note is no news
        pass
    assert not note.exists()
    with pytest.raises(ZeroDivisionError), process(note).together():
        raise ZeroDivisionError


def test_rows_in_shards_are_one_split(tmp_path):
    """If this fails, the artifact lacks rows, has them in another order, or counts what it did twice."""
    features, asked = Features({"n": Value("int64")}), []

    def make(part):
        asked.append(part)
        return [{"n": n} for n in range(part.start, part.stop) if n % 3], {"seen": part.stop - part.start}

    for _ in range(2):
        written, counts = process(tmp_path / "note").write_rows(tmp_path, "task", 23, 5, make, features, "T", "row")
        assert written == 15 and counts == {"seen": 23} and len(asked) == 5
    rows = load_dataset("parquet", data_files=str(tmp_path / "task" / "train-*.parquet"), split="train",
                        cache_dir=str(tmp_path / "hf"))
    assert rows["n"][:] == [n for n in range(23) if n % 3] and rows.features == features
    assert process(tmp_path / "note").write_rows(tmp_path, "none", 0, 5, make, features, "T", "row")[0] == 0
    assert list((tmp_path / "none").glob("train-*.parquet"))


def test_time_to_go(tmp_path, capfd, monkeypatch):
    """If this fails, a run of days says nothing until its end. What was there before is no measure of its speed."""
    monkeypatch.setattr(shards, "tqdm", partial(tqdm, disable=False))  # also where TQDM_DISABLE is set
    paths = [tmp_path / str(n) for n in range(4)]
    paths[0].touch()
    for number in process(tmp_path / "note").share(paths, [10, 10, 10, 5], "Scoring squad", "query"):
        paths[number].touch()
    said = capfd.readouterr().err
    assert "Scoring squad:  29%" in said and "10/35" in said and "35/35" in said and "<" in said and "query/s" in said
    list(process(tmp_path / "note", 1, 2).share(paths, [1] * 4, "Scoring squad", "query"))
    assert capfd.readouterr().err == ""
