"""mteb's own tasks, from a mirror, with the prompts of training, and never another model's scores."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from mteb_copies import STS, write
from small import SENTENCES

from anna_embed.config import BenchmarkConfig
from anna_embed.data.sources import SOURCES
from anna_embed.evaluation.estimate import Estimate, amount
from anna_embed.evaluation.metrics import spearman
from anna_embed.evaluation.mteb_prompts import instructed, of_model, prompts_by_task
from anna_embed.evaluation.mteb_tasks import Candidate, run_tasks
from anna_embed.evaluation.panel import DEV_PANEL, Part, load_task, locate_parts
from anna_embed.evaluation.scored_model import ScoredModel
from anna_embed.located import Located, locate
from anna_embed.model.encode import lay_out_untrained, load_encoder
from anna_embed.parsing import RecipeError
from anna_embed.prompts import query_prompt

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "mirror"
MINILM = ROOT / "artifacts" / "mirror" / "models" / "sentence-transformers" / "all-MiniLM-L6-v2"
MTEBS_OWN = "Instruct: Retrieve semantically similar text.\nQuery: "
INSTRUCTIONS = {name: source.instruction for source in reversed(SOURCES) for name in source.mteb_tasks}


class Encoder:
    """Words to vectors by their letters; keeps what it was asked."""

    def __init__(self, fails_at=()):
        self.asked, self.fails_at = [], fails_at

    def __call__(self, texts, prompt):
        if set(texts) & set(self.fails_at):
            raise KeyboardInterrupt
        self.asked += [(prompt, text) for text in texts]
        vectors = np.asarray([[text.lower().count(c) + 0.1 for c in "aeioubcdfglmnprst"] for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def prompts_of(self, *texts):
        return {prompt for prompt, text in self.asked if text in texts}


def candidate(encode, trained=None, model="digest"):
    return Candidate("local/model", {"model": model}, lambda: encode,
                     lambda metadata: instructed(metadata, trained or {}, INSTRUCTIONS))


@pytest.fixture
def located(small_mirror):
    return locate_parts([Part("STSBenchmark"), Part("Banking77Classification"), Part("SciFact")], [str(small_mirror)])


@pytest.fixture
def models(tiny_model, tmp_path):
    """Two models that mteb cannot tell apart by their names."""
    import torch
    from transformers import AutoModel

    paths = []
    for number in range(2):
        path, base = tmp_path / str(number) / "model", tmp_path / str(number) / "base"
        path.mkdir(parents=True)
        base.symlink_to(tiny_model)
        lay_out_untrained(str(base), path)
        if number:
            model = AutoModel.from_pretrained(path)
            with torch.no_grad():
                model.layers[0].mlp.up_proj.weight.mul_(-2)
            (path / "model.safetensors").unlink()
            model.save_pretrained(path)
        paths.append(str(path))
    return paths


def expected(path, mirror, prompt):
    """STSBenchmark by our own means."""
    rows = load_dataset("parquet", data_files=str(mirror / STS / "data" / "test-*.parquet"), split="train")
    encode = load_encoder(path, 512, 32, "float32")
    left, right = (encode(rows[side][:], prompt) for side in ("sentence1", "sentence2"))
    return spearman(left, right, np.asarray(rows["score"][:]))


def sts_of(path, digest, trained, mirror, cache):
    of = Candidate("local/model", {"model": digest}, lambda: load_encoder(path, 512, 32, "float32"),
                   lambda metadata: instructed(metadata, trained, {}))
    (record,) = run_tasks(of, locate_parts([Part("STSBenchmark")], [str(mirror)]), cache)
    return record["value"]


def test_two_models_never_share_an_entry(models, small_mirror, tmp_path):
    """If this fails, the second model that is benchmarked gets the first one's scores, and so do other prompts."""
    cache, own = tmp_path / "cache", {"STSBenchmark": query_prompt("Do they say the same?")}
    for path, digest, trained in ((models[0], "a", {}), (models[1], "b", {}), (models[1], "b", own)):
        prompt = trained.get("STSBenchmark", MTEBS_OWN)
        value = sts_of(path, digest, trained, small_mirror, cache)
        assert value == pytest.approx(expected(path, small_mirror, prompt), abs=1e-4)
        assert sts_of(path, digest, trained, small_mirror, cache) == value
    assert len(list(cache.rglob("STSBenchmark.json"))) == 3


def test_documents_get_no_instruction(located, tmp_path):
    """If this fails, passages are encoded as questions, and every retrieval score is wrong."""
    encode = Encoder()
    records = run_tasks(candidate(encode), located, tmp_path)
    assert encode.prompts_of(f"Title 3 {SENTENCES[3]}") == {""}
    claim = "Given a scientific claim, retrieve documents that support or refute the claim."
    assert encode.prompts_of(SENTENCES[6].split(" ", 1)[1]) == {query_prompt(claim)}
    assert encode.prompts_of(SENTENCES[0]) == {MTEBS_OWN}  # of a pair, both sides alike
    assert [(r["task"], r["metric"], r["n"]) for r in records] == [
        ("STSBenchmark", "cosine_spearman", 20), ("Banking77Classification", "accuracy", 12),
        ("SciFact", "ndcg_at_10", 4)]
    pairs = [text for prompt, text in encode.asked if prompt == MTEBS_OWN]
    assert len(pairs) == len(set(pairs)), "a text of both sides is encoded twice"


def test_killed_between_tasks_it_goes_on(located, tmp_path, capsys):
    """If this fails, a benchmark of a night starts again from nothing; or the data of a copy is no longer told of."""
    with pytest.raises(KeyboardInterrupt):
        run_tasks(candidate(Encoder(fails_at=[f"Title 3 {SENTENCES[3]}"])), located, tmp_path)
    encode = Encoder()
    records = run_tasks(candidate(encode), located, tmp_path)
    asked = {text for _, text in encode.asked}
    assert f"Title 3 {SENTENCES[3]}" in asked and not {SENTENCES[0], f"{SENTENCES[0]} test"} & asked
    assert "benchmark: 1 of 3 mteb tasks to run" in capsys.readouterr().out
    again = Encoder(fails_at=SENTENCES)
    assert run_tasks(candidate(again), located, tmp_path) == records and not again.asked
    changed = {part: Located(at.reference, at.path, "other data") for part, at in located.items()}
    run_tasks(candidate(encode := Encoder()), changed, tmp_path)
    assert encode.asked, "other data has the old scores"


def test_a_copy_that_is_not_mtebs_is_said(located, tmp_path):
    """If this fails, a score on 20 of 1,379 pairs stands beside published ones as if it were one of them."""
    notes = {r["task"]: r["note"] for r in run_tasks(candidate(Encoder()), located, tmp_path)}
    assert notes["STSBenchmark"].startswith("a part of mteb's data: test num_samples 20 instead of 1,379; ")
    assert "test num_documents 24 instead of 5,183" in notes["SciFact"]
    assert "train num_samples 24 instead of 10,003" in notes["Banking77Classification"]


def sts_copy(mirror, change):
    """STSBenchmark in which `change` has been at the rows, located."""
    rows = [{"sentence1": text, "sentence2": text[9:], "score": n % 5 + 0.5} for n, text in enumerate(SENTENCES[:9])]
    change(rows)
    write(mirror / STS, "data/test-00000-of-00001.parquet", rows)
    return locate_parts([Part("STSBenchmark")], [str(mirror)])


@pytest.mark.parametrize("change, said", [
    (lambda rows: [row.pop("sentence2") for row in rows], "ValueError: Column 'sentence2' doesn't exist"),
    (lambda rows: rows[3].update(score=None), "TypeError: '<' not supported"),
    (lambda rows: rows[3].update(sentence1=None), "TypeError: .*NoneType"),
    (lambda rows: rows.__delitem__(slice(1, None)), "ValueError: .* must have length at least 2")])
def test_a_faulty_copy_is_one_sentence(change, said, tmp_path):
    """If this fails, a column that a copy lacks, or a text in it, ends a benchmark of hours in mteb's traceback."""
    located = sts_copy(tmp_path, change)
    with pytest.raises(RecipeError, match=f"tasks: STSBenchmark: its data in '.*' cannot be read or scored [(]{said}.*"
                                          "[)]; fetch it again, or leave the task out.$"):
        run_tasks(candidate(Encoder()), located, tmp_path / "cache")


@pytest.mark.parametrize("name, fill, said", [
    ("test.parquet", b"PAR1 cut", "ArrowInvalid: "), ("README.md", b"", "EmptyDatasetError: ")])
def test_a_copy_without_readable_rows(name, fill, said, tmp_path):
    """If this fails, a download that broke off ends in a traceback that names neither task nor folder."""
    (tmp_path / STS).mkdir(parents=True)
    (tmp_path / STS / name).write_bytes(fill)
    with pytest.raises(RecipeError, match=f"tasks: STSBenchmark: its data in .*{said}"):
        run_tasks(candidate(Encoder()), locate_parts([Part("STSBenchmark")], [str(tmp_path)]), tmp_path / "cache")


def test_what_the_model_raises_is_not_the_datas_fault(small_mirror, tmp_path):
    """If this fails, a bug of a model sends people to fetch good data again, and its traceback is lost."""
    class Broken(Encoder):
        def __call__(self, texts, prompt):
            if SENTENCES[0] in texts:
                raise ValueError("a bug")
            return super().__call__(texts, prompt)

    with pytest.raises(ValueError, match="^a bug$"):
        run_tasks(candidate(Broken()), locate_parts([Part("STSBenchmark")], [str(small_mirror)]), tmp_path)


def test_a_score_that_is_no_number_is_refused(tmp_path):
    """If this fails, NaN is kept as a score, and goes out in a manifest that is no valid JSON. The second run
    finds mteb's own file of it."""
    located = sts_copy(tmp_path, lambda rows: rows[3].update(score=float("nan")))
    for _ in range(2):
        with pytest.raises(RecipeError, match="STSBenchmark: its score is nan: the labels in '.*' hold NaN or are"):
            run_tasks(candidate(Encoder()), located, tmp_path / "cache")
    assert not list(tmp_path.rglob("records/*.json"))


@pytest.mark.parametrize("broken", ["", "{", '{"value": NaN}'])
def test_a_broken_record_is_made_anew(small_mirror, tmp_path, broken):
    """If this fails, a file that a full disk left empty stops every later run."""
    located = locate_parts([Part("STSBenchmark")], [str(small_mirror)])
    first = run_tasks(candidate(Encoder()), located, tmp_path)
    (file,) = (tmp_path / "records").glob("*.json")
    file.write_text(broken)
    assert run_tasks(candidate(Encoder()), located, tmp_path) == first


@pytest.mark.parametrize("cut", ["STSBenchmark.json", "model_meta.json", "run_settings.jsonl"])
def test_a_cut_file_of_mteb_is_made_anew(small_mirror, tmp_path, cut):
    """If this fails, a kill in the moment when mteb writes a result makes every later run blame the task's data."""
    located = locate_parts([Part("STSBenchmark")], [str(small_mirror)])
    (first,) = run_tasks(candidate(Encoder()), located, tmp_path)
    (record,) = (tmp_path / "records").glob("*.json")
    record.unlink()
    (file,) = (tmp_path / "results").rglob(cut)
    whole = file.read_bytes()
    file.write_bytes(whole[:20])
    (again,) = run_tasks(candidate(Encoder()), located, tmp_path)
    assert again | {"seconds": 0} == first | {"seconds": 0}
    assert len(file.read_bytes()) > len(whole) - 20


def test_two_mirrors_of_one_layout(small_mirror, tmp_path):
    """If this fails, the second mirror's data is scored as the first's: `datasets` takes them for the same folder."""
    write(tmp_path / STS, "data/test-00000-of-00001.parquet",
          [{"sentence1": text, "sentence2": text[9:], "score": float(n % 5)} for n, text in enumerate(SENTENCES)])
    values = [run_tasks(candidate(Encoder()), locate_parts([Part("STSBenchmark")], [str(mirror)]), tmp_path / "cache")
              for mirror in (small_mirror, tmp_path)]
    assert [record["n"] for (record,) in values] == [20, 24]


def test_a_part_of_a_retrieval_task(small_mirror, tmp_path, monkeypatch):
    """If this fails, the small panel scores test queries, or queries whose passages it has left out."""
    part, encode = Part("SciFact", "train", queries=2, documents=5), Encoder()
    (record,) = run_tasks(candidate(encode), locate_parts([part], [str(small_mirror)]), tmp_path)
    documents = [text for prompt, text in encode.asked if text.startswith("Title")]
    queries = [text for prompt, text in encode.asked if prompt.startswith("Instruct: Given a scientific claim")]
    assert documents == [f"Title {n} {SENTENCES[n]}" for n in (0, 1, 2, 3, 4)]
    assert sorted(queries)[-2:] == sorted(SENTENCES[n].split(" ", 1)[1] for n in (0, 3))
    assert (record["task"], record["split"], record["n"]) == ("SciFact (train, 2 queries, 5 documents)", "train", 2)


# ---- prompts -------------------------------------------------------------------------------------------------------

FOUR = {"FEVERHardNegatives": "FEVER", "HotpotQAHardNegatives": "HotpotQA",
        "ArXivHierarchicalClusteringP2P": "ArxivClusteringP2P", "ArXivHierarchicalClusteringS2S": "ArxivClusteringS2S"}


@pytest.mark.parametrize("task, source", FOUR.items())
def test_the_four_tasks_without_their_training_instruction(task, source):
    """If this fails, a model is told to 'retrieve text based on user query' where it was trained on more."""
    instruction = next(s.instruction for s in SOURCES if s.name == source)
    metadata = load_task(Part(task)).metadata
    assert instructed(metadata, {}, {}).query != query_prompt(instruction)
    assert instructed(metadata, {}, INSTRUCTIONS).query == query_prompt(instruction)
    covered = prompts_by_task({source: {"mteb_tasks": [task]}}, {source: "whole prompt"})
    assert asdict(instructed(metadata, covered, INSTRUCTIONS)) == {
        "text": "whole prompt", "query": "whole prompt", "document": "", "origin": "the model's training"}


def test_every_task_of_the_benchmark_has_an_instruction():
    """If this fails, a task is run without any instruction, or with one that differs from its training source's."""
    from anna_embed.evaluation.panel import parts_of

    prompts = {part.task: instructed(load_task(part).metadata, {}, INSTRUCTIONS)
               for part in parts_of([], "MTEB(eng, v2)", False, False)}
    assert all(p.query.startswith("Instruct: ") and p.query.endswith("\nQuery: ") and not p.document
               for p in prompts.values())
    origins = [p.origin for p in prompts.values()]
    assert origins.count("the training source that covers the task") >= 20
    assert prompts["TRECCOVID"].query == query_prompt(
        "Given a query on COVID-19, retrieve documents that answer the query")


def test_prompts_go_to_the_tasks_that_a_dataset_covers():
    """If this fails, a task that was trained under another name is run with mteb's generic instruction."""
    tasks = {"FEVER": {"mteb_tasks": ["FEVER", "FEVERHardNegatives"]}, "mine": {}}
    prompts = prompts_by_task(tasks, {"FEVER": "F", "mine": "M"})
    assert prompts == {"FEVER": "F", "FEVERHardNegatives": "F", "mine": "M"}


def test_a_models_own_prompts(tmp_path):
    """If this fails, e5 is scored without its 'query: ', or MiniLM with our instructions."""
    scifact, sts = (load_task(Part(name)).metadata for name in ("SciFact", "STS12"))
    assert asdict(of_model(sts, str(tmp_path))) == {"text": "", "query": "", "document": "", "origin": "none"}
    config = {"prompts": {"query": "query: ", "document": "passage: ", "STS12": "same: "}, "default_prompt_name": None}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(config))
    assert asdict(of_model(scifact, str(tmp_path))) == {
        "text": "", "query": "query: ", "document": "passage: ", "origin": "the model's own"}
    assert of_model(sts, str(tmp_path)).text == "same: "
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(config | {"default_prompt_name": "query"}))
    assert of_model(scifact, str(tmp_path)).text == "query: "


# ---- what it takes -------------------------------------------------------------------------------------------------

def test_amounts_are_mtebs():
    """If this fails, the time that is announced has nothing to do with the task."""
    assert amount(Part("STSBenchmark")) == (1256 + 1337, pytest.approx(2593 * 53.6, rel=0.01))
    assert amount(Part("SciFact")) == (5183 + 300, pytest.approx(7798555, rel=1e-3))
    assert amount(Part("Banking77Classification"))[0] == 3080 + 77 * 8 * 10
    assert amount(DEV_PANEL[2])[0] == 200 + 400
    assert amount(DEV_PANEL[0])[0] > 0, "the validation split is not described: the test split stands in"


def test_the_estimate_learns_from_what_is_done(monkeypatch):
    """If this fails, the time left never gets shorter, or a slow machine is promised a fast run."""
    now = [0.0]

    def encode(texts, prompt):
        now[0] += sum(0.01 + 0.001 * len(text) for text in texts)

    monkeypatch.setattr("anna_embed.evaluation.estimate.time.perf_counter", lambda: now[0])
    parts = {Part(name): instructed(load_task(Part(name)).metadata, {}, {}) for name in ("STSBenchmark", "STS12")}
    estimate = Estimate(encode, parts)
    texts, characters = amount(Part("STSBenchmark"))
    planned = estimate.seconds[Part("STSBenchmark")]
    assert planned == pytest.approx(0.01 * texts + 0.001 * characters, rel=1e-6)
    other = estimate.seconds[Part("STS12")]
    estimate.done(Part("STSBenchmark"), 2 * planned)
    assert estimate.left == pytest.approx(2 * other)


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / STS).is_dir(), reason="needs a mirror that holds STSBenchmark")
def test_real_stsbenchmark(models, tmp_path):
    """If this fails, the scores on a model's card are not those that mteb gives on the real data."""
    assert sts_of(models[0], "a", {}, REAL, tmp_path) == pytest.approx(expected(models[0], REAL, MTEBS_OWN), abs=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / STS).is_dir() or not MINILM.is_dir(), reason="needs STSBenchmark and all-MiniLM-L6-v2")
def test_a_published_score(tmp_path):
    """If this fails, no score of this harness can be set beside a published one: 0.8203247 in mteb's results."""
    mirrors = [str(REAL), str(ROOT / "artifacts" / "mirror")]
    config = BenchmarkConfig(artifacts=str(tmp_path), tasks=["STSBenchmark"], mirror=mirrors, dtype="float32")
    at = locate("model", "sentence-transformers/all-MiniLM-L6-v2", "model", mirrors)
    minilm = ScoredModel(at, None, config, tmp_path / "unused")
    (record,) = run_tasks(minilm.candidate(INSTRUCTIONS), locate_parts([Part("STSBenchmark")], mirrors), tmp_path)
    assert record["value"] == pytest.approx(0.8203247, abs=5e-5) and record["n"] == 1379
    assert record["prompt"]["text"] == ""
