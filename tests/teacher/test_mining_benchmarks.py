"""The benchmarks of mining at toy size: what they hide, what they count, and the real scripts from end to end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from small import SENTENCES
from tiny_teacher import passages, write_world

from anna_embed.parsing import RecipeError
from anna_embed.teacher import mine
from anna_embed.teacher.flat import Candidates
from benchmarks import hidden, titles
from benchmarks.false_negatives import measure
from benchmarks.mining import Settings

ROOT = Path(__file__).parents[2]
FOUND = hidden.Found(np.array([4, 2, 9, 7, 5]), np.array([0.9, 0.8, 0.7, 0.68, 0.2]), {2: 0.8, 9: 0.7, 1: 0.1, 4: 0.9})


# ---- false negatives ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule, own, hardest, negatives", [
    (hidden.naive(), 2, 2, 4),  # 4 and 9 of the hidden; 1 was not found
    (hidden.absolute(0.05), 2, 1, 3),  # at most 0.75: without 4
    (hidden.percentage(0.87), 2, 0, 2),  # at most 0.696: without 9, too
    (hidden.percentage(0.95), 1, 0, 0),  # at most 0.095: nothing is left
])
def test_hidden_positives_that_are_taken(rule, own, hardest, negatives):
    """If this fails, the share of false negatives that the documentation gives is wrong."""
    known, others = [own], set(FOUND.positives) - {own}
    (row,) = hidden.rows_of(FOUND, known, others, rule)
    assert (row["hidden"], row["hardest"], row["negatives"]) == (3, hardest, negatives)
    assert row["drawn"] == pytest.approx(hardest)  # fewer than seven are left, so that all are drawn


def test_own_and_minimum():
    """Two rows of a query: with `own` each has its threshold, with `min` both have the lower one."""
    taken = {of: [row["hardest"] for row in hidden.rows_of(FOUND, [4, 9], {2, 1}, hidden.absolute(0.05, of))]
             for of in ("own", "min")}
    assert taken == {"own": [1, 0], "min": [0, 0]}


def test_what_is_drawn_is_an_expectation():
    """Seven of the hardest fifty: a hidden one among them is taken in 7 of 50 draws, one behind them never."""
    far = hidden.Found(np.arange(80), np.linspace(0.9, 0.1, 80), {30: 0.6, 60: 0.3, 100: 0.95})
    (row,) = hidden.rows_of(far, [100], {30, 60}, hidden.naive())
    assert row["drawn"] == pytest.approx(7 / 50) and row["hardest"] == 0 and row["negatives"] == 7
    assert hidden.summary([row, row])["hidden_among_the_drawn"] == 0.07
    assert hidden.summary([row])["mean_score_of_the_hardest"] == pytest.approx(
        np.linspace(0.9, 0.1, 80)[:7].mean(), abs=1e-4)


@given(st.integers(0, 999), st.integers(1, 3), st.sampled_from(["own", "min"]), st.sampled_from([0.7, 0.95]))
def test_mines_as_the_stage_does(seed, keep, of, margin):
    """If this fails, the benchmark judges a rule that the stage mine does not apply."""
    draw = np.random.default_rng(seed)
    scores = np.sort(draw.normal(0.3, 0.3, 30).round(2))[::-1]
    found = hidden.Found(np.arange(30), scores, {int(p): float(scores[p]) for p in draw.choice(30, 5, False)})
    known, others = hidden.split(list(found.positives), keep, str(seed))
    assert len(known) == keep and others == set(found.positives) - set(known)
    rule = mine.Rule(margin=margin, threshold_from=of, top_k=7)
    ids, every = pa.array([f"{n:02d}" for n in range(30)]), np.arange(30)
    for own, row in zip(known, hidden.rows_of(found, known, others, hidden.percentage(margin, of))):
        candidates = Candidates(0 * every, ids, np.isin(every, known), np.array([own]), every)
        chosen, _, _ = mine.choose(scores, candidates, rule, ["a row"])
        assert (row["negatives"], row["hardest"]) == (len(chosen), len(others & set(chosen.tolist())))


def test_a_stricter_rule_takes_fewer():
    """The curve over the margin falls; queries with one positive besides the known are in the first part only."""
    few = hidden.Found(np.array([4, 2, 9]), np.array([0.9, 0.8, 0.7]), {2: 0.8, 4: 0.9})
    facts = measure({"one": FOUND, "other": few}, 3)
    assert facts["one_known"]["naive top-k"]["hidden"] == 3 * 3 + 3 and facts["two_known"]["naive top-k"]["rows"] == 6
    for curve in facts["by_margin"].values():
        shares = [said["hidden_among_the_hardest"] for said in curve.values()]
        assert shares == sorted(shares, reverse=True)


# ---- what is mined --------------------------------------------------------------------------------------------------
def test_choice_of_pairs():
    """If this fails, sizes are compared that hold other shares of positives, or a query is its own positive."""
    pairs = [("a", "b"), ("a", "c"), ("a", "d"), ("e", "b"), ("e", "e"), ("f", ""), ("g", "h")]
    assert sorted(titles.choose_pairs(pairs, 2, 9)) == [("a", "b"), ("a", "c"), ("e", "b"), ("g", "h")]
    for room in range(4):
        chosen = titles.choose_pairs(pairs, 2, room)
        assert len({positive for _, positive in chosen}) <= room
        assert chosen == titles.choose_pairs(pairs, 2, 9)[: len(chosen)]


def test_corpus_of_a_size():
    """Every positive is in it, once, wherever else it stands; a corpus that is too small is said, not mined."""
    corpus = titles.fill(["b", "c"], ["b", "x", "y", "y", "z", ""], 4)
    assert len(corpus) == len(set(corpus)) == 4 and {"b", "c"} < set(corpus) < {"b", "c", "x", "y", "z"}
    with pytest.raises(RecipeError, match="passages: 9 are asked for, but there are only 5"):
        titles.fill(["b", "c"], ["b", "x", "y", "y", "z", ""], 9)


@pytest.mark.parametrize("keys, sentence", [
    ({"titles": ["a/b"]}, "titles: 'a/b' names no column"), ({"passages": [0]}, "passages: 0 is not possible"),
    ({"depth": 12}, "depth: 12 leaves no choice"), ({"repeats": 0}, "repeats: 0 is not possible")])
def test_settings_that_cannot_be(keys, sentence):
    """An hour would pass before the mistake is seen."""
    with pytest.raises(RecipeError, match=sentence):
        Settings(**keys)


# ---- the scripts ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    """A tiny model, pairs of texts, and a pairs artifact in which some queries have several positives."""
    folder = tmp_path_factory.mktemp("mirror")
    write_world(folder / "world")
    (folder / "models/toy").mkdir(parents=True)
    (folder / "world/dense").rename(folder / "models/toy/dense")
    texts = [row["text"] for row in passages()]
    right = [(sentence[:25], texts[n + 24 * k]) for n, sentence in enumerate(SENTENCES) for k in range(1 + n % 3)]
    for name, rows in (("pairs", [{"one": query, "other": positive} for query, positive in right]),
                       ("titles", [{"title": text} for text in texts])):
        (folder / f"datasets/toy/{name}").mkdir(parents=True)
        Dataset.from_list(rows).to_parquet(str(folder / f"datasets/toy/{name}/train.parquet"))
    return folder


def run(module, mirror, *arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", f"benchmarks.{module}", "--model", "toy/dense", "--mirror", str(mirror)]
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])["results"]


@pytest.mark.slow
def test_mining_from_end_to_end(mirror, tmp_path):
    """The benchmark would end after an hour without a figure."""
    facts = run("mining", mirror, "--pairs", "toy/pairs", "--titles", "toy/titles:title", "--passages", "40", "64",
                "--embed_up_to", "40", "--repeats", "1", "--depth", "70", "--blocks", "16384", "--folder",
                str(tmp_path))  # a depth of all passages: below, theirs sees as many negatives for every query
    assert list(facts) == ["40 passages, embedding excluded", "40 passages, embedding included",
                           "64 passages, embedding excluded"]
    for said in facts.values():
        # Two cosines of this random model may lie 1e-4 apart, which float16 does not tell; 0.8 to 1 in eight trials.
        agreed = said["agreement"]
        assert agreed["rows_of_ours"] == agreed["rows_of_theirs"] > 0 and agreed["share_the_same"] >= 0.5
        assert set(said["ours"]["parts"]) == {"read and embed", "search", "write scores", "mine"}
        peer = said["theirs, 16384 queries a block"]
        assert all(peer["ours_takes"][key] > 0 for key in ("seconds", "processor_seconds", "peak_gb"))
        assert peer["peak_gb"]["median"] >= peer["start_gb"]["median"] > 0.1


@pytest.mark.slow
def test_search_of_random_vectors(mirror, tmp_path):
    """The figures for a corpus of millions could not be taken again."""
    facts = run("mining", mirror, "--random_vectors", "9000", "--random_queries", "5", "--dim", "16", "--folder",
                str(tmp_path))
    assert facts["queries"] == 5 and facts["peak_gb"] > 0.1 and facts["queries_per_processor_second"] > 0


@pytest.mark.slow
def test_false_negatives_from_end_to_end(mirror, tmp_path):
    """The same of the other benchmark; the picture is written."""
    facts = run("false_negatives", mirror, "--pairs", str(mirror / "world/pairs"), "--dtype", "float32",
                "--least_queries", "2", "--plot", str(tmp_path / "plot.svg"))
    said = facts["questions"]["one_known"]
    assert list(facts) == ["questions"] and facts["questions"]["queries"] == 8
    assert said["percentage 0.95"]["hidden_among_the_hardest"] <= said["naive top-k"]["hidden_among_the_hardest"]
    assert facts["questions"]["two_known"]["naive top-k"] is None, "no query has three positives"
    assert (tmp_path / "plot.svg").stat().st_size > 1000
