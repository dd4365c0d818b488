"""The stages score and mine over whole artifacts: shards, kills, several processes, and what the manifest says."""

import json
import shutil
import time

import numpy as np
import psutil
import pytest
from datasets import load_dataset
from recipes import mine as mine_stage
from recipes import score as score_stage
from tiny_teacher import ONE, TWO, pairs, passages, recipe, run, start, write_world

from anna_embed.artifacts import read_manifest
from anna_embed.config import MineConfig, ScoreConfig
from anna_embed.parsing import RecipeError, parse
from anna_embed.teacher.candidates import Teacher

STAGES = {"score": (score_stage, ScoreConfig), "mine": (mine_stage, MineConfig)}


def in_this_process(folder, stage, **keys):
    script, config = STAGES[stage]
    script.main(*parse(config, ["--config", str(recipe(folder, stage, **keys))]))
    return read_manifest(folder / {"score": "scores", "mine": "triplets"}[stage])


def rows_of(folder, artifact, task="questions"):
    files = sorted(map(str, (folder / artifact / task).glob("*.parquet")))
    return load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "hf")).to_list()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Scored and mined once, in this process."""
    folder = write_world(tmp_path_factory.mktemp("world"))
    return folder, in_this_process(folder, "score"), in_this_process(folder, "mine")


@pytest.fixture
def copy(world, tmp_path):
    """The same before it was scored: models and pairs."""
    for name in ("dense", "reranker", "pairs"):
        shutil.copytree(world[0] / name, tmp_path / name)
    return tmp_path


def test_every_query_is_scored(world):
    """If this fails, queries are lost between shards, or stand there twice."""
    folder, manifest, _ = world
    rows = rows_of(folder, "scores")
    assert [row["query_id"] for row in rows] == sorted({pair["query_id"] for pair in pairs()})
    right = {(pair["query_id"], pair["positive_id"]) for pair in pairs()}
    texts = {passage["id"]: passage["text"] for passage in passages()}
    for row in rows:
        found = {(row["query_id"], i) for i, is_it in zip(row["candidate_ids"], row["is_positive"]) if is_it}
        assert found == {pair for pair in right if pair[0] == row["query_id"]}
        assert row["candidates"] == [texts[i] for i in row["candidate_ids"]]
    assert manifest["rows"] == {"questions": {"train": 24}}
    said = manifest["statistics"]["questions"]
    assert said["passages"] == 72 and said["queries"] == 24 and said["positives"] == 32
    assert said["candidates"] == sum(len(row["candidates"]) for row in rows)
    assert {"positives found by BM25", "positives found by neither"} < set(said)
    assert not list((folder / "scores").glob(".*"))


def test_what_the_manifest_says_of_mining(world):
    """If this fails, nobody sees that a recipe's margin leaves half of the rows without negatives."""
    folder, _, manifest = world
    rows, said = rows_of(folder, "triplets"), manifest["statistics"]["questions"]
    assert said["queries"] == 24 and said["rows"] == len(rows) == 32
    assert said["negatives"] == sum(len(row["negatives"]) for row in rows)
    assert said["rows with fewer negatives than asked"] == sum(len(row["negatives"]) < 3 for row in rows)
    assert said["without negatives: no candidate but positives"] + said[
        "without negatives: every candidate too close to the positive"] == sum(
        not row["negatives"] for row in rows)
    assert said["dropped as likely false negatives"] > 0 < said["mean rank of the chosen"]
    assert said["rows with top_k widened"] == 0 and manifest["statistics"]["inference"] == {}
    card = (folder / "triplets" / "README.md").read_text()
    assert "| questions | without negatives: every candidate too close to the positive | " in card


def test_a_small_top_k_is_widened_and_counted(world, copy):
    """If this fails, rows are filled up, or left ragged though there were negatives."""
    shutil.copytree(world[0] / "scores", copy / "scores")
    said = in_this_process(copy, "mine", top_k=1)["statistics"]["questions"]
    assert said["rows with top_k widened"] > 0
    assert said["negatives"] == world[2]["statistics"]["questions"]["negatives"]


def test_a_kill_loses_one_shard_at_most(world, copy, monkeypatch):
    """If this fails, a run that is stopped after hours begins anew, or ends with other rows."""
    score, calls = Teacher.score, []

    def stopped(self, queries, *arrays):
        calls.append([query["query_id"] for query in queries])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return score(self, queries, *arrays)

    monkeypatch.setattr(Teacher, "score", stopped)
    with pytest.raises(KeyboardInterrupt):
        in_this_process(copy, "score")
    assert len(list((copy / "scores.partial" / ".shards" / "questions").glob("0*.arrow"))) == 3
    manifest = in_this_process(copy, "score")
    assert calls[4:] == calls[3:4] + calls[5:] and len(calls) == 4 + 3, "more than the shard at hand was scored again"
    assert manifest["content"] == world[1]["content"] and manifest["statistics"] == world[1]["statistics"]


def test_embedding_goes_on_where_it_was_killed(copy, monkeypatch):
    """If this fails, a kill while 8 M passages are embedded costs the hours so far."""
    from anna_embed.teacher import dense

    encode, seen = dense.encode, []

    def stopped(model, texts, *args, **keys):
        if len(seen) == 5:
            seen.append([])
            raise KeyboardInterrupt
        seen.append(texts)
        return encode(model, texts, *args, **keys)

    monkeypatch.setattr(dense, "SHARD", 8)
    monkeypatch.setattr(dense, "encode", stopped)
    with pytest.raises(KeyboardInterrupt):
        in_this_process(copy, "score")
    in_this_process(copy, "score")
    embedded = [text for texts in seen for text in texts]
    assert len(embedded) == len(set(embedded)) == 72 + 24


def test_the_order_of_rows_does_not_matter(world, tmp_path):
    """If this fails, a corpus that was downloaded in another order gives other negatives."""
    folder = write_world(tmp_path, pairs()[::-1], passages()[::-1])
    in_this_process(folder, "score", memory_gb=0.2)
    assert rows_of(folder, "scores") == rows_of(world[0], "scores")
    in_this_process(folder, "mine", shard_size=3)
    assert rows_of(folder, "triplets")[::-1] == rows_of(world[0], "triplets")


def test_another_rule_embeds_and_indexes_nothing(world, monkeypatch):
    """If this fails, every change of `depth` costs the embedding of the corpus."""
    from anna_embed.teacher import bm25, dense

    folder = world[0]
    kept = {path: path.stat().st_mtime_ns for path in (folder / ".cache").rglob("*") if path.is_file()}
    monkeypatch.setattr(dense, "encode", None)
    monkeypatch.setattr(bm25, "write_postings", None)
    shutil.copytree(folder / "scores", folder / "kept")
    try:
        in_this_process(folder, "score", depth=5)
        assert {path: path.stat().st_mtime_ns for path in (folder / ".cache").rglob("*") if path.is_file()} == kept
    finally:
        shutil.rmtree(folder / "scores")
        (folder / "kept").rename(folder / "scores")


@pytest.mark.parametrize("keys, sentence", [
    ({"memory_gb": 0.1, "shard_size": 100000, "depth": 50}, "memory_gb: 0.1 is too little for 72 passages and shards"),
    ({"memory_gb": 99.0, "shard_size": 10 ** 6, "depth": 50}, "shard_size: 1000000 queries .* GB of text, and a shard "
     "holds 1.1; write shard_size: [0-9]{6} or less"),
    ({"bm25_stemmer": "klingon"}, "bm25_stemmer: 'klingon' is not possible; write one of none, arabic"),
    ({"bm25_stop_words": "latin"}, "bm25_stop_words: 'latin' is not possible"),
])
def test_what_cannot_be(copy, keys, sentence):
    """One clear sentence, and nothing half-written."""
    with pytest.raises(RecipeError, match=sentence):
        in_this_process(copy, "score", **keys)
    assert not (copy / "scores").exists()


# ---- several processes ----------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_two_processes_give_the_same(world, copy):
    """If this fails, what is mined depends on how many GPUs there were."""
    for stage, artifact, before in (("score", "scores", world[1]), ("mine", "triplets", world[2])):
        done = run(TWO, copy, stage)
        assert done.returncode == 0, done.stderr[-3000:]
        manifest = read_manifest(copy / artifact)
        assert manifest["content"] == before["content"] and manifest["statistics"] == before["statistics"]
        assert done.stdout.count(f"{stage}: made ") == 1
        assert {"score": "Scoring questions", "mine": "Mining questions"}[stage] in done.stderr


@pytest.mark.slow
def test_what_the_second_process_finds_is_said(copy):
    """If this fails, a NaN in the second process's shard ends the run without a word, or never."""
    rows = pairs()
    rows[-1]["positive"] = passages()[-1]["text"]
    bad = write_world(copy, rows)
    model = bad / "reranker" / "model.safetensors"
    from safetensors.torch import load_file, save_file

    weights = load_file(model)
    tokens = json.loads((bad / "reranker" / "tokenizer.json").read_text())["model"]["vocab"]
    weights["bert.embeddings.word_embeddings.weight"][tokens["Sunspots"]] = np.nan
    save_file(weights, model, metadata={"format": "pt"})
    done = run(TWO, bad, "score", shard_size=4)
    assert done.returncode != 0 and "error: score: the reranker score of query" in done.stderr
    assert done.stderr.count("error: score:") == 1


@pytest.mark.slow
def test_kill_9_of_both_processes(world, copy):
    """If this fails, a preempted job starts over, or what it left behind spoils the scores."""
    process = start(TWO, copy, "score", shard_size=1)
    shards = copy / "scores.partial" / ".shards" / "questions"
    until = time.time() + 600
    while time.time() < until and len(list(shards.glob("0*.arrow"))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    family = [process, *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        member.kill()
    process.wait()
    psutil.wait_procs(family[1:], timeout=30)
    done_then = {path: path.stat().st_mtime_ns for path in shards.glob("0*.arrow")}
    assert 3 <= len(done_then) < 24
    resumed = start(ONE, copy, "score", shard_size=1)
    while resumed.poll() is None and (copy / "scores.partial").exists():
        for path, moment in done_then.items():
            if path.exists():
                assert path.stat().st_mtime_ns == moment, "a finished shard was made again"
        time.sleep(0.05)
    assert resumed.wait() == 0, resumed.stderr.read()[-3000:]
    for row, other in zip(rows_of(copy, "scores"), rows_of(world[0], "scores"), strict=True):
        assert row.pop("reranker") == pytest.approx(other.pop("reranker"), abs=1e-5)  # other shards, other batches
        assert row == other
