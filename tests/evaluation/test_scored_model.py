"""What a model is decides how it is asked; examples of `num_examples` really reach it; a model alone can be scored."""

import json
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from datasets import load_dataset
from mteb_copies import STS
from recipes import benchmark
from sentence_transformers import SentenceTransformer
from small import SENTENCES
from transformers import BloomConfig

from anna_embed.artifacts import read_manifest
from anna_embed.config import BenchmarkConfig
from anna_embed.evaluation.panel import Part, load_task
from anna_embed.evaluation.scored_model import ScoredModel
from anna_embed.located import Located
from anna_embed.model.encode import lay_out_untrained, load_encoder
from anna_embed.parsing import RecipeError, parse
from anna_embed.prompts import query_prompt
from anna_embed.schema import PAIRS, RESULTS
from anna_embed.tables import write_split

TASKS = {"mine": {"kind": "sts", "instruction": "Say whether they agree.", "mteb_tasks": ["STSBenchmark"]},
         "held out only": {"kind": "sts", "instruction": "Compare.", "mteb_tasks": []}}


@pytest.fixture
def pairs(tmp_path):
    """A pairs artifact with training rows of one task."""
    folder = tmp_path / "pairs"
    rows = [{"query_id": str(n), "query": SENTENCES[n], "positive_id": str(n), "positive": SENTENCES[n + 10],
             "negatives": [], "label": None, "label_score": [0.1, 0.9][n % 2], "task": "mine"} for n in range(10)]
    write_split(folder, "mine", "train", rows, PAIRS)
    manifest = {"stage": "convert", "tasks": TASKS, "rows": {"mine": {"train": 10}, "held out only": {"test": 1}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def scored(path, pairs, tmp_path, reference=None, **keys):
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    config = BenchmarkConfig(artifacts=str(tmp_path), dtype="float32", max_length=64, **keys)
    return ScoredModel(Located(reference or str(path), str(path), "digest"), pairs, config, folder)


def exported(tiny_model, folder, manifest):
    folder.mkdir()
    lay_out_untrained(str(tiny_model), folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_each_kind_of_model(tiny_model, pairs, tmp_path):
    """If this fails, MiniLM is given our instructions, or the untrained base none, and the comparison is unfair."""
    metadata = load_task(Part("STSBenchmark")).metadata
    bare = scored(tiny_model, pairs, tmp_path, "org/base")
    assert bare.prompts["mine"] == query_prompt("Say whether they agree.") and bare.name == "org/base"
    plain = scored(exported(tiny_model, tmp_path / "plain", {}), pairs, tmp_path)
    assert plain.prompts == {"mine": "", "held out only": ""}
    assert plain.candidate({}).prompt_of(metadata).text == ""
    made = {"stage": "export", "tasks": TASKS, "prompts": {"mine": "stored: "}}
    ours = scored(exported(tiny_model, tmp_path / "model", made), None, tmp_path)
    assert (ours.name, ours.prompts["mine"]) == ("trained model", "stored: ")
    assert ours.candidate({}).prompt_of(metadata).query == "stored: "
    assert scored(tmp_path / "model", None, tmp_path, num_examples=0).prompts["mine"] == bare.prompts["mine"]


def test_the_prompts_that_other_models_bring_along(tiny_model, pairs, tmp_path):
    """If this fails, e5 or Qwen3-Embedding is scored on held-out rows without its prompts, and looks worse."""
    folder = exported(tiny_model, tmp_path / "e5", {})
    file = folder / "config_sentence_transformers.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(known | {"prompts": {"query": "query: ", "passage": "passage: ", "all": "text: "},
                                        "default_prompt_name": "all"}))
    model = scored(folder, pairs, tmp_path)
    assert model.prompts["mine"] == "text: " and model.document_prompt == "passage: "  # an STS task: no queries
    model.tasks = {"mine": {"kind": "retrieval", "instruction": "Find it"}}
    assert model._prompts({}, pairs) == {"mine": "query: "}
    assert scored(tiny_model, pairs, tmp_path).document_prompt == ""
    file.write_text(json.dumps(known | {"prompts": {"query": "Q: ", "document": "", "all": "text: "},
                                        "default_prompt_name": "all"}))
    assert scored(folder, pairs, tmp_path).document_prompt == ""  # as the stock library has it, and no default


def test_vectors_in_half_precision_are_of_length_one(tiny_model, tmp_path):
    """If this fails, the benchmark's products are no cosines: in bfloat16 each length is off by some thousandths."""
    encode = load_encoder(str(exported(tiny_model, tmp_path / "model", {})), 64, 8, "bfloat16")
    np.testing.assert_allclose(np.linalg.norm(encode(SENTENCES, "say "), axis=1), 1, atol=1e-6)


def test_a_bare_decoder_in_other_files(tiny_model, tmp_path):
    """If this fails, weights in several files can be trained but not scored, or a model with ALiBi is a traceback."""
    base, folder = tmp_path / "base", tmp_path / "laid out"
    shutil.copytree(tiny_model, base)
    folder.mkdir()
    (base / "pytorch_model.bin.index.json").write_text("{}")
    with patch("transformers.AutoConfig.from_pretrained", return_value=BloomConfig(hidden_size=8)):
        lay_out_untrained(str(base), folder)
    assert (folder / "pytorch_model.bin.index.json").is_symlink()
    assert json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"] == 2048


def test_held_out_rows_are_no_task_of_mteb():
    """STSBenchmark's held-out pairs went to the Hub as mteb's score, and two scores stood in one cell of a card."""
    rows = [{"task": name, "value": 0.5} for name in ("STSBenchmark", "Mine", "EmotionClassification")]
    assert [row["task"] for row in benchmark.apart(rows, [Part("EmotionClassification")])] == [
        "STSBenchmark (held-out rows)", "Mine", "EmotionClassification (held-out rows)"]


def test_a_folder_that_is_no_model(pairs, tmp_path):
    """An adapter's folder ended in a traceback of transformers."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(RecipeError, match="adapter' is neither a SentenceTransformer nor a decoder .* not an adapter"):
        scored(tmp_path / "adapter", pairs, tmp_path)


@pytest.mark.parametrize("reference, name", [
    ("intfloat/e5-small-v2", "intfloat/e5-small-v2"), ("intfloat/e5-small-v2@v1", "intfloat/e5-small-v2"),
    ("/a/my run/model", "local/my-run-model")])
def test_the_name_that_mteb_files_results_under(reference, name, tiny_model, tmp_path):
    """If this fails, mteb refuses the name, or all local models are one."""
    assert scored(tiny_model, None, tmp_path, reference).mteb_name == name


def tokens_seen(monkeypatch):
    """The numbers of tokens that an embedding layer is given, call by call."""
    seen, original = [], torch.nn.Embedding.forward
    monkeypatch.setattr(torch.nn.Embedding, "forward",
                        lambda self, ids: seen.append(ids.numel()) or original(self, ids))
    return seen


def test_examples_reach_the_encoder(tiny_model, pairs, tmp_path, monkeypatch):
    """If this fails, a few-shot score is the zero-shot one under another name."""
    seen, counts, vectors = tokens_seen(monkeypatch), {}, {}
    for number in (0, 3):
        model = scored(tiny_model, pairs, tmp_path, num_examples=number, batch_size=1)
        prompt, encode = model.candidate({}).prompt_of(load_task(Part("STSBenchmark")).metadata).text, model.load()
        seen.clear()
        vectors[number] = encode([SENTENCES[20]], prompt)[0]
        counts[number] = sum(seen)
        stock = SentenceTransformer(model.path)
        whole = stock.tokenizer(prompt + SENTENCES[20])["input_ids"]
        assert len(whole) <= counts[number] <= len(whole) + 4, "neither less than the string, nor the string twice"
        assert np.allclose(stock.encode(prompt + SENTENCES[20]), vectors[number], atol=1e-4)
        assert prompt.count("Response: ") == number and prompt.count("Instruct: ") == number + 1
    assert counts[3] > counts[0] + 3 * 8 and not np.allclose(vectors[0], vectors[3], atol=1e-3)


def test_examples_come_from_training_rows_that_agree(tiny_model, pairs, tmp_path):
    """If this fails, a pair that is not similar is shown as what is meant, or a task without rows ends the run."""
    model = scored(tiny_model, pairs, tmp_path, num_examples=4)
    shown = model.prompts["mine"]
    assert sum(SENTENCES[n] in shown for n in range(1, 10, 2)) == 4
    assert not any(SENTENCES[n] in shown for n in range(0, 10, 2))
    assert model.prompts["held out only"] == query_prompt("Compare.")


def test_a_model_that_takes_no_instructions_takes_no_examples(tiny_model, pairs, tmp_path):
    """If this fails, `num_examples` is read and does nothing."""
    plain = exported(tiny_model, tmp_path / "plain", {})
    with pytest.raises(RecipeError, match="num_examples: 3 is not possible; this model knows no examples"):
        scored(plain, pairs, tmp_path, num_examples=3)


def run(*words):
    benchmark.main(*parse(BenchmarkConfig, list(map(str, words))))


def test_a_model_alone(tiny_model, small_mirror, tmp_path, capsys):
    """If this fails, nobody can score a model that was not made here: it asks for pairs, or for baselines."""
    words = ["--model", tiny_model, "--panel", "--mirror", small_mirror, "--artifacts", tmp_path / "a", "--dtype",
             "float32"]
    run(*words)
    said = capsys.readouterr().out
    manifest = read_manifest(tmp_path / "a" / "results")
    assert [(row["model"], row["task"]) for row in manifest["table"]] == [
        (str(tiny_model), name) for name in ("STSBenchmark", "Banking77Classification", "SciFact")]
    assert manifest["absent"][:2] == ["SICK-R", "STS12"] and len(manifest["absent"]) == 9
    assert "Not scored, as no mirror holds the data: SICK-R, STS12" in said
    assert "(a part of mteb's data: test num_samples 20 instead of 1,379" in said
    assert manifest["command"].startswith("python -m recipes.benchmark")
    rows = load_dataset("parquet", data_files=str(tmp_path / "a/results/results/*.parquet"), split="train")
    assert rows.features == RESULTS and all(rows["note"][:])
    run(*words)
    assert "is up to date" in capsys.readouterr().out
    run(*words, "--max_length", 32)
    assert "3 of 3 mteb tasks to run" in capsys.readouterr().out


def test_any_model_on_held_out_rows(tiny_model, pairs, tmp_path):
    """If this fails, only models made here can be scored on one's own rows; others have a '/' in the name."""
    rows = [{"query_id": text, "query": text, "positive_id": text, "positive": text[::-1], "negatives": [],
             "label": None, "label_score": n / 5, "task": "held out only"} for n, text in enumerate(SENTENCES[:5])]
    write_split(Path(pairs), "held out only", "test", rows, PAIRS)
    plain = exported(tiny_model, tmp_path / "plain", {})
    run("--model", plain, "--pairs", pairs, "--baselines", "false", "--artifacts", tmp_path / "a", "--dtype",
        "float32")
    (row,) = read_manifest(tmp_path / "a" / "results")["table"]
    assert (row["model"], row["task"], row["metric"], row["n"]) == (str(plain), "held out only", "spearman", 5)


@pytest.mark.parametrize("words, message", [
    (["--num_examples", "3"], "num_examples: 3 is not possible; examples are drawn from the training rows"),
    (["--num_examples", "17"], "num_examples: 17 is not possible; write 0 to 16"),
    (["--tasks", "SICK-R"], "tasks: SICK-R: no mirror holds the dataset 'mteb/sickr-sts'"),
    (["--benchmark", "MTEB(eng, v2)"], "benchmark: ArguAna: no mirror holds")])
def test_what_cannot_be_scored(words, message, tiny_model, small_mirror, tmp_path):
    """If this fails, a run ends in a traceback, or leaves half a folder behind."""
    mine = ["--tasks", "STSBenchmark"] if "--tasks" not in words else []
    with pytest.raises(RecipeError, match=message.replace("(", r"\(").replace(")", r"\)")):
        run("--model", tiny_model, "--mirror", small_mirror, "--artifacts", tmp_path / "a", *mine, *words)
    assert not (tmp_path / "a").exists()


def test_pairs_are_what_convert_makes(tiny_model, pairs, tmp_path):
    """If this fails, `--pairs artifacts/scores` is taken without a word, and no held-out row is scored."""
    manifest = Path(pairs, "manifest.json")
    manifest.write_text(manifest.read_text().replace('"convert"', '"score"'))
    with pytest.raises(RecipeError, match="pairs: '.*pairs' is not possible; name an artifact that the convert stage"):
        run("--model", tiny_model, "--pairs", pairs, "--baselines", "false", "--artifacts", tmp_path / "a")


def test_the_mirror_is_the_real_thing(small_mirror):
    """If this fails, the tests above run on nothing."""
    assert (small_mirror / STS).is_dir()
