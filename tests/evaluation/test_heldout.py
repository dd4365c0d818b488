"""Held-out rows as small tasks: each kind is asked what it was trained for, with the prompts it was trained with."""

import json

import numpy as np
import pytest

from anna_embed.evaluation.heldout import HeldOut, read_held_out, score, score_all
from anna_embed.evaluation.show import as_text, how_to_use
from anna_embed.evaluation.teachers import teacher_scores
from anna_embed.parsing import RecipeError
from anna_embed.schema import CORPUS, PAIRS
from anna_embed.tables import write_split
from anna_embed.teacher.fusion import rrf


def row(query, positive, negatives=(), label=None, label_score=None) -> dict:
    return {"query_id": query, "query": query, "positive_id": positive, "positive": positive, "label": label,
            "negatives": list(negatives), "label_score": label_score, "task": "task"}


class Encoder:
    """Words to vectors: those that share the first letter have the same; it keeps which prompts came with what."""

    def __init__(self):
        self.prompts = {}

    def __call__(self, texts, prompt):
        self.prompts.update(dict.fromkeys(texts, prompt))
        return np.eye(26, dtype=np.float32)[[ord(text[0]) - ord("a") for text in texts]]


RETRIEVAL = HeldOut("qa", "retrieval", "Find", [row("ant", "axe"), row("bee", "bat"), row("cat", "dog")],
                    ["axe", "bat", "dog"], ["axe", "bat", "dog"])
CASES = [
    (RETRIEVAL, "ndcg_at_10", (1 + 1 + 0.5) / 3, 3, {"ant": "P", "axe": ""}),
    (HeldOut("sts", "sts", "Same", [row("ant", "axe", label_score=1.0), row("bee", "cat", label_score=0.2),
                                    row("dog", "fox", label_score=0.1)], [], []),
     "spearman", pytest.approx(0.866, abs=1e-3), 3, {"ant": "P", "axe": "P"}),
    (HeldOut("nli", "nli", "Same", [row("ant", "axe", ["bat"]), row("bee", "cat", ["bat"]), row("dog", "dot")],
             [], []), "triplet_accuracy", 0.5, 2, {"ant": "P", "axe": "P", "bat": "P"}),
    (HeldOut("intent", "classification", "Intent", [row("ant", "anger"), row("bee", "boredom"), row("axe", "boredom")],
             [], []), "accuracy", pytest.approx(2 / 3), 3, {"ant": "P", "anger": ""}),
    (HeldOut("topic", "clustering", "Topic", [row("ant", "x", label="one"), row("axe", "x", label="one"),
                                              row("bee", "x", label="two")], [], []),
     "v_measure", 1.0, 3, {"ant": "P"}),
]


@pytest.mark.parametrize("task, metric, value, n, prompts", CASES, ids=lambda case: getattr(case, "name", None))
def test_each_kind(task, metric, value, n, prompts):
    """If this fails, documents are scored with an instruction that they never had in training, or without theirs."""
    encode = Encoder()
    assert score(task, encode, "P", 10) == [{"task": task.name, "metric": metric, "value": value, "n": n}]
    assert {text: encode.prompts[text] for text in prompts} == prompts
    score(task, encode, "P", 10, "D")  # of a model that has a prompt for documents
    assert {text: encode.prompts[text] for text in prompts} == {text: name or "D" for text, name in prompts.items()}


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_a_score_that_is_no_number(tmp_path):
    """If this fails, NaN of a model that gives all texts one vector goes into a manifest, which is no JSON then."""
    with pytest.raises(RecipeError, match="base model: its spearman on the held-out rows of 'sts' is no number: "):
        score_all("base model", lambda: lambda texts, prompt: np.eye(26)[[0] * len(texts)], [CASES[1][0]],
                  {"sts": "P"}, 10, tmp_path / ".scores")
    assert not (tmp_path / ".scores").exists()


def test_the_slow_teachers_are_compared_on_the_same_queries():
    """If this fails, the table sets a reranker's 2 queries beside another model's 3."""
    rows = score(RETRIEVAL, Encoder(), "P", 2)
    assert [(r["task"], r["n"], r["value"]) for r in rows] == [("qa", 3, 2.5 / 3), ("qa (first 2 queries)", 2, 1.0)]
    bm25 = {"ant": [0, 1, 2], "bee": [3, 2, 1], "cat": [0, 0, 1]}
    asked = []

    def rerank(pairs):
        asked.extend(pairs)
        return np.asarray([float(query[0] == passage[0]) for query, passage in pairs])

    rows = teacher_scores(RETRIEVAL, lambda query: np.asarray(bm25[query], float), np.eye(3)[:2], rerank, rrf, 2, 2)
    by_model = {(r["model"], r["task"]): (round(r["value"], 3), r["n"]) for r in rows}
    assert by_model == {
        ("BM25", "qa"): (round((0.5 + 1 / np.log2(3) + 1) / 3, 3), 3),
        ("BM25", "qa (first 2 queries)"): (round((0.5 + 1 / np.log2(3)) / 2, 3), 2),
        ("RRF (BM25 + dense)", "qa (first 2 queries)"): by_model["RRF (BM25 + dense)", "qa (first 2 queries)"],
        ("reranker", "qa (first 2 queries)"): (1.0, 2)}
    assert len(asked) == 4


def test_what_the_reranker_does_not_see_keeps_its_place():
    """If this fails, a right passage at place 6 counts as not found when the cross-encoder orders the first 5."""
    task = HeldOut("qa", "retrieval", "Find", [row("ant", "axe")], ["bat", "cat", "axe"], ["bat", "cat", "axe"])
    rows = teacher_scores(task, lambda query: np.asarray([3.0, 2.0, 1.0]), np.asarray([[3.0, 2.0, 1.0]]),
                          lambda pairs: np.arange(len(pairs), dtype=float), rrf, 2, 1)
    assert [r["value"] for r in rows if r["model"] == "reranker"] == [1 / np.log2(4)]


def test_scores_are_kept(tmp_path):
    """If this fails, a kill during the third model costs the first two."""
    def never():
        raise AssertionError("loaded again")

    first = score_all("trained model", Encoder, [RETRIEVAL], {"qa": "P"}, 10, tmp_path / ".scores")
    assert score_all("trained model", never, [RETRIEVAL], {"qa": "P"}, 10, tmp_path / ".scores") == first
    assert json.loads((tmp_path / ".scores" / "trained-model.json").read_text())[0]["model"] == "trained model"


def test_read_from_pairs(tmp_path):
    """If this fails, a query with two right passages counts as two, or the corpus of training is searched."""
    write_split(tmp_path, "qa", "test", [row("q", "a"), row("q", "b")], PAIRS)
    write_split(tmp_path, "qa-corpus", "test", [{"id": i, "text": i.upper()} for i in "cab"], CORPUS)
    write_split(tmp_path, "other", "train", [row("q", "a")], PAIRS)
    tasks = {"qa": {"kind": "retrieval", "instruction": "Find"}, "other": {"kind": "nli", "instruction": "Same"}}
    (task,) = read_held_out(str(tmp_path), tasks, {"qa": {"train": 1, "test": 2}, "other": {"train": 1}})
    assert (task.queries, task.relevant, task.passages) == ({"q": "q"}, [{1, 2}], ["C", "A", "B"])


@pytest.mark.parametrize("kind, rows", [
    ("clustering", [row("a", "x"), row("b", "y")]), ("clustering", [row("a", "x", label="l"), row("b", "y")]),
    ("nli", [row("a", "x"), row("b", "y")]), ("sts", [row("a", "x", label_score=1.0)]),
    ("sts", [row("a", "x", label_score=0.5), row("b", "y", label_score=0.5)]),
    ("classification", [row("a", "x"), row("b", "x")])])
def test_rows_that_say_nothing_are_left_out(tmp_path, capsys, kind, rows):
    """If this fails, any model clusters perfectly, a correlation is NaN, or the benchmark ends in a traceback."""
    write_split(tmp_path, "mine", "test", rows, PAIRS)
    assert read_held_out(str(tmp_path), {"mine": {"kind": kind, "instruction": "i"}}, {"mine": {"test": 2}}) == []
    assert "The held-out rows of 'mine' leave nothing to tell apart" in capsys.readouterr().out


def test_rows_without_a_label_are_left_out(tmp_path):
    """If this fails, one row without a label ends the benchmark in a traceback."""
    rows = [row("ant", "x", label="one"), row("axe", "x", label="two"), row("bee", "x")]
    write_split(tmp_path, "mine", "test", rows, PAIRS)
    (task,) = read_held_out(str(tmp_path), {"mine": {"kind": "clustering", "instruction": "i"}}, {"mine": {"test": 3}})
    assert [r["query"] for r in task.rows] == ["ant", "axe"]


def test_one_task_scored_on_different_rows():
    """If this fails, a score on 100 rows stands under the heading of one on 3,750, without its note."""
    same = {"task": "STS14", "metric": "spearman"}
    table = [{"model": "a", "value": 0.7, "n": 3750, **same},
             {"model": "b", "value": 0.9, "n": 100, "note": "a part of it", **same}]
    assert as_text(table) == ("\nSTS14: Spearman, n = 3750\n  a  0.700\n"
                              "\nSTS14: Spearman, n = 100 (a part of it)\n  b  0.900")


def test_table_sorts_by_score():
    """If this fails, the table that ends every run is wrong, or a recipe without held-out rows ends in a traceback."""
    same = {"task": "qa", "metric": "ndcg_at_10", "n": 3}
    table = [{"model": m, "value": v, **same} for m, v in (("a", 0.1), ("bb", 1.0))]
    assert as_text(table) == "\nqa: nDCG@10, n = 3\n  bb  1.000\n  a   0.100"
    assert as_text([]) == "(no task has held-out rows)"


def test_the_lines_to_load_the_model_are_python():
    """If this fails, the three lines that the run prints at its end do not run."""
    lines = [line.strip() for line in how_to_use("artifacts/model").splitlines() if line.startswith("  ")]
    assert len(lines) == 3 and compile("\n".join(lines), "lines", "exec")
