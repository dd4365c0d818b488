"""The training stage as users run it: the script, two real processes, and what it says when something is wrong."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from small import SENTENCES, TASKS, save_tiny_model, triplet_rows
from tiny import save_guide

from anna_embed.__main__ import main
from anna_embed.model.export import load_adapted, vectors_of
from anna_embed.parsing import RecipeError
from anna_embed.prompts import query_prompt
from anna_embed.schema import TRIPLETS
from anna_embed.tables import write_split
from anna_embed.tokens import load_tokenizer


pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RECIPE = {
    "dtype": "float32", "use_peft": True, "lora_task_type": "FEATURE_EXTRACTION",
    "lora_target_modules": ["all-linear"], "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.1,
    "retrieval_batch_size": 6, "other_batch_size": 4, "num_negatives": 3, "max_length": 128, "max_examples": 2,
    "example_group_size": 3, "prompt_max_length": 320, "token_budget": 100, "num_train_epochs": 1,
    "learning_rate": 1e-2, "warmup_steps": 2, "use_cpu": True, "logging_steps": 5, "save_steps": 5, "seed": 7,
}
TWO = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "recipes/accelerate/cpu2.yaml", "-m"]
ONE = [sys.executable, "-m"]


def start(launcher, folder, **keys):
    """Starts the stage on the recipe in a folder; keys are written into its YAML, None takes one out."""
    recipe = {"artifacts": str(folder), "model_name_or_path": str(folder / "base"), **RECIPE, **keys}
    recipe = {key: value for key, value in recipe.items() if value is not None}
    file = folder / "train.yaml"
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    return subprocess.Popen([*launcher, "recipes.train", "--config", str(file)], cwd=ROOT, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def train(launcher, folder, **keys):
    """Runs the stage to its end."""
    process = start(launcher, folder, **keys)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def world(folder, rows=None):
    """A base model and triplets, as the stages before this one would have left them."""
    save_tiny_model(folder / "base")
    rows = triplet_rows() if rows is None else rows
    for task, some in rows.items():
        write_split(folder / "triplets", task, "train", some, TRIPLETS)
    tasks = {name: TASKS[name] | {"licence": "cc0-1.0", "path": "none/none"} for name in rows}
    manifest = {"stage": "mine", "content": "", "tasks": tasks}
    (folder / "triplets" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = world(tmp_path_factory.mktemp("two"))
    return folder, train(TWO, folder)


def test_two_processes_train_an_adapter(trained):
    """`--cpu --num_processes 2` silently runs one; the file for two processes must start two."""
    folder, done = trained
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("train: 2 process(es)") == 1
    manifest = json.loads((folder / "adapter" / "manifest.json").read_text())
    assert manifest["training"]["processes"] == 2 and manifest["training"]["steps"] == 11
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(folder / "base") and config["task_type"] == "FEATURE_EXTRACTION"
    weights = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert len(weights) == 2 * 7 * 2 and all(w.abs().max() > 0 for n, w in weights.items() if "lora_B" in n)
    log = json.loads((folder / "adapter" / "training_log.json").read_text())
    assert [line["step"] for line in log if "loss" in line] == [5, 10]
    assert (folder / "adapter" / "README.md").is_file() and (folder / "adapter" / "tokenizer.json").is_file()
    left = [p.name for p in folder.iterdir() if p.name not in ("base", "triplets", "adapter", "train.yaml")]
    assert not left and not list((folder / "adapter").glob(".*")) and not list(folder.rglob("training_args.bin"))


def test_the_adapter_is_a_sentence_transformer(trained):
    """If this fails, the stock library pools an adapter's folder in another way than training did, and in silence."""
    folder, texts = trained[0], [*SENTENCES[:5], " ".join(SENTENCES * 2)]
    model, tokenizer = load_adapted(folder / "base", [folder / "adapter"]), load_tokenizer(folder / "base", 320)
    stock = SentenceTransformer(str(folder / "adapter"), device="cpu")
    for name, vectors in (("query", stock.encode_query(texts)), ("topics", stock.encode(texts, prompt_name="topics"))):
        prompted = [query_prompt(TASKS["questions" if name == "query" else name]["instruction"]) + t for t in texts]
        np.testing.assert_allclose(vectors, vectors_of(model, tokenizer, prompted, 320), atol=1e-5)
    np.testing.assert_allclose(stock.encode_document(texts), vectors_of(model, tokenizer, texts, 320), atol=1e-5)


def test_a_record_says_how_to_repeat_it(trained, tmp_path):
    """A stranger who has the scores alone can believe them or not."""
    folder, _ = trained
    main(["record", str(folder / "adapter"), "--output", str(tmp_path / "new" / "record.json")])
    record = json.loads((tmp_path / "new" / "record.json").read_text())
    assert record["config"]["lora_r"] == 4 and record["parents"]["triplets"]["digest"] and record["commit"]
    assert record["training"]["steps"] == 11 and [line["step"] for line in record["curve"]] == [5, 10]
    assert record["curve"][1]["distinct_tokens"] > record["curve"][0]["distinct_tokens"] > 0
    with pytest.raises(RecipeError, match="adapter: '.*triplets' is no adapter that recipes.train made"):
        main(["record", str(folder / "triplets"), "--output", str(tmp_path / "none.json")])


def test_a_second_run_does_nothing(trained):
    """Whatever the number of processes: they decide how, not what. A dry run still says what there would be to do."""
    folder, _ = trained
    before = (folder / "adapter" / "manifest.json").stat().st_mtime_ns
    again = train(ONE, folder, token_budget=300)
    assert again.returncode == 0 and f"train: {folder}/adapter is up to date" in again.stdout
    looked = train(ONE, folder, dry_run=True)
    assert looked.returncode == 0 and "steps          11 (11 an epoch)" in looked.stdout
    assert (folder / "adapter" / "manifest.json").stat().st_mtime_ns == before


def test_one_process_trains_the_same_adapter(trained, tmp_path):
    """From the first random number to the last step nothing depends on the number of processes."""
    assert train(ONE, world(tmp_path)).returncode == 0
    one, two = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (tmp_path, trained[0]))
    assert one.keys() == two.keys()
    for name in one:
        assert (one[name] - two[name]).norm() / one[name].norm() < 1e-3, name


def test_killed_and_run_again(trained, tmp_path):
    """`kill -9` of both processes in the midst of training, the same command again: bit for bit the same adapter."""
    folder = world(tmp_path)
    process = start(TWO, folder, save_steps=2)
    deadline = time.time() + 300
    while not list(folder.rglob("checkpoint-*/complete")) and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:  # the launcher's workers outlive it
        one.kill()
    process.communicate()
    assert not (folder / "adapter").exists()
    first = max(int(path.parent.name.split("-")[1]) for path in folder.rglob("checkpoint-*/complete"))
    again = train(TWO, folder)
    assert again.returncode == 0, again.stderr[-2000:]
    one, two = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (folder, trained[0]))
    assert all(torch.equal(one[name], two[name]) for name in two) and 0 < first < 11
    facts = json.loads((folder / "adapter" / "manifest.json").read_text())["training"]
    assert facts["steps"] == 11 and first <= facts["resumed_at"] < 11


def break_nothing(folder):
    pass


def without_eos(folder):
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = folder / "base" / name
        if file.is_file():
            known = json.loads(file.read_text())
            known.pop("eos_token", None)
            file.write_text(json.dumps(known))


def without_triplets(folder):
    for file in sorted((folder / "triplets").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (folder / "triplets").rmdir()


def with_nan(folder):
    rows = triplet_rows()["questions"]
    rows[5]["teacher_reranker"][0] = float("nan")
    write_split(folder / "triplets", "questions", "train", rows, TRIPLETS)


@pytest.mark.parametrize("spoil, keys, sentence", [
    (break_nothing, {"gradient_accumulation_steps": 8}, "gradient_accumulation_steps: 8 is not possible"),
    (without_eos, {}, "has no EOS token"),
    (without_triplets, {}, "triplets: there is nothing at"),
    (with_nan, {}, "teacher_reranker that is not a finite number"),
])
def test_bad_input_is_one_sentence(tmp_path, spoil, keys, sentence):
    """Exit code 2, one sentence with the remedy, no traceback, nothing half-written."""
    spoil(world(tmp_path))
    done = train(ONE, tmp_path, **keys)
    assert done.returncode == 2, done.stderr[-2000:]
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and sentence in said[0] and "Traceback" not in done.stderr
    assert not (tmp_path / "adapter").exists()
    assert not [p for p in tmp_path.rglob("adapter.partial/*") if not p.name.startswith(".")]


def test_dry_run_says_what_training_would_do(tmp_path):
    """Hours of a cluster are planned by these lines; a dry run leaves nothing behind."""
    done = train(ONE, world(tmp_path), dry_run=True, task_weights={"questions": 2.0})
    assert done.returncode == 0, done.stderr[-2000:]
    assert "steps          13 (13 an epoch)" in done.stdout and "questions 6" in done.stdout
    assert "estimate" in done.stdout and "target entropy questions" in done.stdout
    assert not list(tmp_path.glob("adapter*"))


def test_mixture_of_an_unknown_task(tmp_path):
    """A misspelt task would silently keep its weight of 1."""
    done = train(ONE, world(tmp_path), task_weights={"question": 2.0})
    assert done.returncode == 2 and "task_weights: there is no task 'question'" in done.stderr


@pytest.mark.parametrize("launcher", [ONE, TWO], ids=["one process", "two processes"])
def test_told_to_end(tmp_path, launcher):
    """The job's last minute: the step is saved, the exit code says why, and the same command goes on from there."""
    process = start(launcher, world(tmp_path), num_train_epochs=60, save_steps=100000)
    log = tmp_path / "adapter.partial" / ".checkpoints"
    while process.poll() is None and "train:" not in (line := process.stdout.readline()):
        assert line
    time.sleep(3)
    process.terminate()
    out, _ = process.communicate(timeout=120)
    assert process.returncode != 0 and "stopped by SIGTERM; step" in out and not (tmp_path / "adapter").exists()
    assert [path.parent.name for path in log.glob("checkpoint-*/complete")]


def test_a_second_step_with_a_guide(trained, tmp_path):
    """Whoever reads the card must see both steps and who guided; and a first step must not be trained over."""
    first, _ = trained
    guide, adapter = save_guide(first / "base", tmp_path / "guide"), tmp_path / "first"
    shutil.copytree(first / "adapter", adapter)
    told = json.loads((adapter / "manifest.json").read_text())
    told["tasks"]["of the first step alone"] = {"kind": "sts", "instruction": "Compare.", "licence": "CC0 1.0"}
    (adapter / "manifest.json").write_text(json.dumps(told))
    other = save_guide(first / "base", tmp_path / "other", "max")
    keys = {"model_name_or_path": str(first / "base"), "adapter": str(adapter), "guide": guide, "second_guide": other,
            "lora_target_modules": None, "max_steps": 2}
    looked = train(ONE, world(tmp_path), **keys, dry_run=True)
    assert looked.returncode == 0 and "vectors of" in looked.stdout and not (tmp_path / ".cache").exists()
    done = train(TWO, tmp_path, **keys)
    assert done.returncode == 0, done.stderr[-2000:]
    manifest = json.loads((tmp_path / "adapter" / "manifest.json").read_text())
    before = manifest["training"]["goes_on_from"]
    assert before["steps"] == 11 and before["rows"]["questions"] == len(triplet_rows()["questions"])
    assert manifest["training"]["guide"] and manifest["training"]["second_guide"]
    assert {"adapter", "guide", "second_guide"} <= set(manifest["parents"])
    assert manifest["tasks"]["of the first step alone"]["licence"] == "CC0 1.0"  # texts that it was trained on, too
    old, new = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (first, tmp_path))
    change = max((new[name] - old[name]).abs().max().item() for name in old)
    assert 0 < change < 0.05  # two steps of warm-up at 1e-2 at most, from where the first ended
    again = train(ONE, tmp_path, **keys)
    assert "is up to date" in again.stdout
    same = train(ONE, tmp_path, **keys | {"second_guide": guide})
    assert same.returncode == 2 and "is the guide too; name another model" in same.stderr
    over = train(ONE, first, adapter=str(first / "adapter"), lora_target_modules=None)
    assert over.returncode == 2 and "is what this stage makes" in over.stderr
