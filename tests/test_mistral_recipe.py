"""The recipes for 7B: what they say is what the report says, and the literal one runs from end to end at toy size, by
overrides only, on a random Mistral with Mistral's own tokenizer."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import mistral
import numpy as np
import pytest
import torch
import yaml
from recipes import convert
from report_mirror import write_mirror
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from anna_embed.artifacts import read_manifest
from anna_embed.config import ConvertConfig
from anna_embed.data.sources import REPORT
from anna_embed.data.tasks import read_tasks
from anna_embed.kinds import KINDS
from anna_embed.model.export import load_adapted, vectors_of
from anna_embed.parsing import parse
from anna_embed.schema import TRIPLETS
from anna_embed.tables import read_split
from anna_embed.tokens import load_tokenizer, tokenize

ROOT = Path(__file__).parents[1]
LITERAL, CLEAN = (ROOT / "recipes" / name for name in ("mistral_7b", "mistral_7b_clean"))
STAGES = {"convert": "pairs", "score": "scores", "mine": "triplets", "train": "adapter", "export": "model",
          "benchmark": "results"}
# Section 5.1 of the report, and what is read out of 3 and 4.
SETTINGS = {
    "train": {"model_name_or_path": "mistralai/Mistral-7B-v0.1", "lora_r": 64, "lora_alpha": 32,
              "learning_rate": 1e-4, "lr_scheduler_type": "linear", "warmup_steps": 0.1, "num_train_epochs": 1,
              "retrieval_batch_size": 512, "other_batch_size": 256, "num_negatives": 7, "max_length": 512,
              "max_examples": 5, "teacher": "rrf", "nli_in_batch": False},
    "mine": {"num_negatives": 7, "margin": 0.95, "threshold_from": "own"},
    "score": {"rrf_k": 60}, "convert": {"decontaminate": False},
}
# What no card needs to explain: where things lie, how they are loaded and shown.
UNEXPLAINED = {"artifacts", "batch_size", "bf16", "dense_query_prompt", "dtype", "logging_steps", "lora_task_type",
               "memory_gb", "save_steps", "save_total_limit", "seed", "tasks", "test_sets", "token_budget", "use_peft"}


def stated(recipe: Path, stage: str) -> dict:
    return yaml.safe_load((recipe / f"{stage}.yaml").read_text(encoding="utf-8"))


def paths(recipe: Path) -> set[tuple]:
    return {(t["path"], t.get("config")) for t in stated(recipe, "convert")["test_sets"]}


# ---- what they say -------------------------------------------------------------------------------------------------

def test_the_literal_recipe_has_the_reports_settings():
    """If this fails, what it makes is no reproduction, whatever it scores."""
    for stage, settings in SETTINGS.items():
        said = stated(LITERAL, stage)
        assert {key: said[key] for key in settings} == settings
    tasks = read_tasks(stated(LITERAL, "convert")["tasks"])
    assert Counter(t.name for t in tasks) == Counter([s.name for s in REPORT] + ["SNLI"]) and len(REPORT) == 33
    verbatim = read_tasks([{"name": t.name, "instruction": "literal"} for t in tasks])
    assert [t.instruction for t in tasks] == [t.instruction for t in verbatim]


def test_the_clean_recipe():
    """If this fails, it trains on what it is scored on, or differs from the literal one where nobody expects it."""
    said = stated(CLEAN, "convert")
    assert said["decontaminate"] and paths(CLEAN) == paths(LITERAL)
    names = {stage: [t["name"] for t in stated(recipe, "convert")["tasks"]] for stage, recipe in
             (("literal", LITERAL), ("clean", CLEAN))}
    gone = set(names["literal"]) - set(names["clean"])
    assert set(names["clean"]) - set(names["literal"]) == {"MultiNLI"}
    assert gone == {"ArguAna", "BiorxivClusteringP2P", "BiorxivClusteringS2S", "MedrxivClusteringP2P",
                    "MedrxivClusteringS2S", "TwentyNewsgroupsClustering"}
    text = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    assert all(word in text for word in ("ArguAna", "bioRxiv", "medRxiv", "TwentyNewsgroups", "MultiNLI"))


def test_the_readme_tells_what_the_recipes_say():
    """If this fails, somebody reads a value and its reason that is not what runs."""
    text = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \| .*? \| (.*?) \| (.*?) \| .*\|$", text, re.M)
    for stage, key, *cells in rows:
        values = [stated(recipe, stage)[key] for recipe in (LITERAL, CLEAN)]
        shown = [v[0] if isinstance(v, list) else str(v).lower() if isinstance(v, bool) else str(v) for v in values]
        assert shown == cells, (stage, key)
    explained = {(stage, key) for stage, key, *_ in rows}
    for stage in ("convert", "score", "mine", "train", "export"):
        assert {key for key in stated(LITERAL, stage) if (stage, key) not in explained} <= UNEXPLAINED
        assert set(stated(LITERAL, stage)) == set(stated(CLEAN, stage))


@pytest.mark.slow
def test_every_task_of_the_benchmark_is_audited():
    """If this fails, a test set that the recipe is scored on is not looked for in its training data."""
    import mteb

    # the hard-negative tasks are samples of whole test sets; the reranking ones were laid out anew under other names
    stands_for = {f"mteb/{name}_test_top_250_only_w_correct-v2": f"mteb/{whole}" for name, whole in (
        ("ClimateFEVER", "climate-fever"), ("FEVER", "fever"), ("HotpotQA", "hotpotqa"))}
    stands_for |= {"mteb/AskUbuntuDupQuestions": "mteb/askubuntudupquestions-reranking",
                   "mteb/MindSmallReranking": "mteb/mind_small"}
    tasks = [task.metadata.dataset["path"] for task in mteb.get_benchmark("MTEB(eng, v2)").tasks]
    assert {stands_for.get(path, path) for path in tasks} == {path for path, _ in paths(LITERAL)} and len(tasks) == 41


# ---- the tokenizer -------------------------------------------------------------------------------------------------

def real_texts() -> list[str]:
    """Pieces of this repository's prose, data and code (runs of spaces), and what tokenizers stumble over."""
    files = [ROOT / "README.md", ROOT / "LICENSE", *sorted((ROOT / "anna_embed").rglob("*.py"))]
    files += sorted((ROOT / "recipes" / "quickstart" / "data").glob("*.jsonl"))
    whole = [file.read_text(encoding="utf-8") for file in files]
    pieces = [text[start: start + 400] for text in whole for start in range(0, len(text), 2000)]
    return [*pieces, "", " ", "   lead", "trail   ", "a  b   c    d", "\n\n\n", "\t\tx\r\n", "日本語のテキスト", "▁ x ▁▁",
            "👩‍👩‍👧 🙂", "naïve café ﬁ Å ½", "a\u00a0b \u200b c", "\x00\x07", "x" * 300, "ไทย العربية עברית"]


@pytest.mark.slow
def test_the_tokenizer_is_mistrals(tmp_path):
    """If this fails, all that is shown on the tiny model is shown for a tokenizer that Mistral does not have."""
    mistral.save_mistral(tmp_path)
    ours, stock = load_tokenizer(str(tmp_path), 2048), AutoTokenizer.from_pretrained(tmp_path)
    found = real_texts()
    assert len(found) > 300
    for text in found:
        ids = mistral.sentencepiece_ids(text)
        assert stock(text)["input_ids"] == [1, *ids]  # as Mistral itself reads it: there is no EOS
        assert tokenize(ours, [text], 10**6)[0] == [1, *ids, 2]
        assert tokenize(ours, [text], 12)[0] == [1, *ids[:10], 2]


# ---- the literal recipe, run ---------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirror")
    write_mirror(folder)
    mistral.save_mistral(folder / "models" / stated(LITERAL, "train")["model_name_or_path"])
    score = stated(LITERAL, "score")
    mistral.save_teachers(*(folder / "models" / score[key] for key in ("dense_model", "reranker")))
    return folder


@pytest.fixture(scope="module")
def run(mirror, tmp_path_factory):
    """The folder of its artifacts. The hardware is overridden, the type where a CPU is slow at it and that of the
    exported weights so that vectors can be compared, and the benchmark, of which the mirror has one task."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    settings = ["train.use_cpu=true", "export.dtype=float32", "benchmark.dtype=float32", "benchmark.benchmark=",
                "benchmark.tasks=STSBenchmark"]
    command = [sys.executable, "-m", "recipes.run", str(LITERAL), "--dtype", "auto", "--mirror", str(mirror),
               "--artifacts", str(artifacts), *(word for setting in settings for word in ("--set", setting))]
    environment = {**os.environ, "TQDM_DISABLE": "1", "HF_DATASETS_CACHE": str(tmp_path_factory.mktemp("cache"))}
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    assert f"run: ran {', '.join(STAGES)}" in done.stdout
    return artifacts


def triplets_of(run, task: str) -> list[dict]:
    return read_split("triplets", str(run / "triplets"), task, "train", TRIPLETS).to_list()


@pytest.mark.slow
def test_every_task_arrives(run):
    """If this fails, one of the 33 datasets is lost on the way, or trained on with other words than the report's."""
    tasks = read_tasks(stated(LITERAL, "convert")["tasks"])
    for name in STAGES.values():
        manifest, card = read_manifest(run / name), (run / name / "README.md").read_text(encoding="utf-8")
        assert manifest["content"][:12] in card
        if name != "results":
            arrived = [t for t in tasks if name != "scores" or KINDS[t.kind].scored]
            assert {k: t["instruction"] for k, t in manifest["tasks"].items()} == {
                t.name: t.instruction for t in arrived}
    assert all(triplets_of(run, task.name) for task in tasks)
    posts = {row["query"] for row in triplets_of(run, "RedditClusteringS2S")}
    titles = {row["query"] for row in triplets_of(run, "RedditClustering")}
    assert all(any(post.startswith(f"{title} ") for title in titles) for post in posts)


@pytest.mark.slow
def test_nothing_is_dropped_and_the_card_counts_it(run):
    """If this fails, the literal data are cleaner than the report's, or nobody is told what they hold."""
    manifest, card = read_manifest(run / "pairs"), (run / "pairs" / "README.md").read_text(encoding="utf-8")
    assert not [row for row in manifest["dropped"] if "test set" in row["reason"]]
    for task, test_set, rows in (("ArguAna", "mteb/arguana", 10), ("STSBenchmark", "mteb/sts13-sts", 3),
                                 ("Banking77Classification", "mteb/banking77", 1)):
        assert manifest["rows"][task]["train"] == 10
        counted = {step: n for step, n in manifest["steps"][task].items() if test_set in step}
        assert counted and set(counted.values()) == {rows}
        assert all(step in card for step in counted)


@pytest.mark.slow
def test_soft_labels_and_negatives(run):
    """If this fails, the teacher that the recipe names is not the one that is distilled, or a negative is too near."""
    retrieval = [t.name for t in read_tasks(stated(LITERAL, "convert")["tasks"]) if KINDS[t.kind].scored]
    sizes = Counter()
    for task in retrieval:
        for row in triplets_of(run, task):
            own, *others = row["teacher_dense"]
            assert all(score <= own - abs(own) * 0.05 + 1e-6 for score in others)
            assert all(0 < score <= 3 / 61 for score in row["teacher_rrf"])  # of three rankings, k = 60
            sizes[len(others)] += 1
    assert max(sizes) == 7 and sum(sizes.values()) >= 11 * 8 and sizes[7] > 20


@pytest.mark.slow
def test_one_epoch_of_lora(run):
    """If this fails, training saw a part of the mixture, or the adapter is not the report's or did not learn."""
    training, log = read_manifest(run / "adapter")["training"], (run / "adapter" / "training_log.json").read_text()
    assert training["steps"] == 34 and '"loss_soft"' in log and '"loss_cosent"' in log and "NaN" not in log
    adapter = yaml.safe_load((run / "adapter" / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"]) == (64, 32, 0.0)
    assert adapter["base_model_name_or_path"] == "mistralai/Mistral-7B-v0.1"
    weights = load_file(run / "adapter" / "adapter_model.safetensors")
    learnt = [weight.abs().max().item() for name, weight in weights.items() if "lora_B" in name]
    assert len(learnt) == 2 * 7 and min(learnt) > 0  # zero at the start


# ---- its model -----------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def stock(run):
    return SentenceTransformer(str(run / "model"), device="cpu")


@pytest.fixture(scope="module")
def asked(run, stock):
    """Texts as the model is given them: bare, with an instruction and with examples, and far beyond its limit."""
    texts = [row[side] for row in triplets_of(run, "SQuAD")[:3] for side in ("query", "positive")]
    prompts = [stock.prompts[name] for name in ("document", "SQuAD-query", "STS22", "Banking77Classification")]
    long = " ".join(row["query"] for row in triplets_of(run, "STS22"))
    return [*(prompt + text for prompt in prompts for text in texts), "a", "", long * 2]


@pytest.mark.slow
def test_bos_and_eos_at_both_ends(run, stock, asked):
    """If this fails, the vector of a text is the state of its last word, or the model reads a text without the token
    that it has never been without; EOS alone, as libraries set it, loses BOS."""
    limit = stock.max_seq_length
    expected = [[1, *mistral.sentencepiece_ids(text)[: limit - 2], 2] for text in asked]
    assert limit == 2048 and max(map(len, expected)) == limit
    for folder in ("adapter", "model"):
        tokenizer = AutoTokenizer.from_pretrained(run / folder)
        assert tokenizer(asked, truncation=True, max_length=limit)["input_ids"] == expected
        assert not (run / folder / "chat_template.jinja").exists() and tokenizer.chat_template is None
    assert stock.tokenizer(asked, truncation=True, max_length=limit)["input_ids"] == expected
    bare = Tokenizer.from_file(str(run / "model" / "tokenizer.json"))  # servers read nothing else
    assert [bare.encode(text).ids for text in asked[:8]] == expected[:8]


@pytest.mark.slow
def test_one_vector_everywhere(mirror, run, stock, asked):
    """If this fails, the stock library searches with other vectors than those that were trained."""
    base = mirror / "models" / "mistralai" / "Mistral-7B-v0.1"
    trained, tokenizer = load_adapted(str(base), [str(run / "adapter")]), load_tokenizer(str(base), 2048)
    ours = vectors_of(trained, tokenizer, asked, 2048).numpy()
    np.testing.assert_allclose(stock.encode(asked, batch_size=4), ours, atol=2e-5)
    np.testing.assert_allclose(alone(run / "model", asked), ours, atol=2e-5)


def alone(folder: Path, texts: list[str], **changes) -> np.ndarray:
    """The oracle: transformers' own Mistral on one text at a time, the state of the last token, of length one."""
    model, tokenizer = AutoModel.from_pretrained(folder, **changes), AutoTokenizer.from_pretrained(folder)
    vectors = []
    with torch.no_grad():
        for text in texts:
            ids = tokenizer(text, truncation=True, max_length=2048, return_tensors="pt")["input_ids"]
            vectors.append(torch.nn.functional.normalize(model(ids).last_hidden_state[0, -1], dim=0))
    return torch.stack(vectors).numpy()


@pytest.mark.slow
def test_the_window_is_kept(run, stock, asked):
    """If this fails, texts longer than the window are encoded as no Mistral does it, in training or in the export."""
    assert AutoModel.from_pretrained(run / "model").config.sliding_window == mistral.WINDOW
    lengths = [len(stock.tokenizer(text)["input_ids"]) for text in asked]
    short, long = ([t for t, n in zip(asked, lengths) if (n > mistral.WINDOW) == longer] for longer in (False, True))
    assert len(short) >= 2 and len(long) >= 10
    difference = np.abs(stock.encode(asked) - alone(run / "model", asked, sliding_window=None)).max(axis=1)
    by_text = dict(zip(asked, difference))
    assert max(by_text[t] for t in short) < 2e-5 and np.median([by_text[t] for t in long]) > 1e-2


# ---- the clean recipe ----------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_the_clean_recipe_drops_what_is_in_a_test_set(mirror, tmp_path, monkeypatch):
    """If this fails, the decontaminated recipe is not, or one of its tasks loses all its rows."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    convert.main(*parse(ConvertConfig, ["--config", str(CLEAN / "convert.yaml"), "--mirror", str(mirror),
                                        "--artifacts", str(tmp_path)]))
    manifest = read_manifest(tmp_path / "pairs")
    dropped = {row["task"]: row["rows"] for row in manifest["dropped"] if "test set" in row["reason"]}
    assert dropped == {"STSBenchmark": 3, "Banking77Classification": 1}
    assert {task: splits["train"] for task, splits in manifest["rows"].items() if task in dropped} == {
        "STSBenchmark": 7, "Banking77Classification": 9}
    tasks = read_tasks(stated(CLEAN, "convert")["tasks"])
    assert {t.name for t in tasks} <= set(manifest["rows"]) and "ArguAna" not in manifest["rows"]
