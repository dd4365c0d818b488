"""Scores on held-out rows during training: the right numbers, at no cost to what is learnt, and the best is kept."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from scipy.stats import spearmanr
from sklearn.metrics import ndcg_score
from small import SENTENCES, TASKS
from test_train_stage import ONE, TWO, train, world
from tiny import adapter_of, in_processes, train_one, trainer

from anna_embed.config import TrainConfig
from anna_embed.evaluation.heldout import HeldOut, score
from anna_embed.evaluation.in_training import MODULES
from anna_embed.parsing import RecipeError
from anna_embed.prompts import as_example, fitted_prompt, rows_shown
from anna_embed.schema import PAIRS
from anna_embed.tables import write_split
from anna_embed.training.checkpoints import last_complete
from anna_embed.training.held_out import Sample, few_shot, read_samples, sample, scores_of

OFTEN = {"eval_strategy": "steps", "eval_steps": 2}
BEST = OFTEN | {"save_strategy": "steps", "save_steps": 2, "load_best_model_at_end": True, "max_steps": 10,
                "metric_for_best_model": "mean"}


def pair(query, positive, negatives=(), label=None, label_score=None) -> dict:
    return {"query_id": query, "query": query, "positive_id": positive, "positive": positive, "label": label,
            "negatives": list(negatives), "label_score": label_score, "task": "task"}


def pairs() -> dict[str, list[dict]]:
    """Held-out rows of every kind."""
    draw, questions = random.Random(1), [text.split(" ", 2)[2] for text in SENTENCES]
    return {
        "questions": [pair(q, p) for q, p in zip(questions, SENTENCES)] + [pair(questions[0], SENTENCES[5])],
        "inference": [pair(q, p, [SENTENCES[n - 7]][: n % 3]) for n, (q, p) in enumerate(zip(questions, SENTENCES))],
        "graded": [pair(q, p, label_score=round(draw.random(), 2)) for q, p in zip(questions, SENTENCES[3:])],
        "intents": [pair(q, ("travel", "food", "music")[n % 3]) for n, q in enumerate(questions)],
        "topics": [pair(q, SENTENCES[0], label=("nature", "craft")[n % 2]) for n, q in enumerate(questions)]}


def tables() -> dict[str, Dataset]:
    return {task: Dataset.from_list(rows, features=PAIRS) for task, rows in pairs().items()}


def samples(most: int = 12) -> list[Sample]:
    return [sample(task, TASKS[task], table, most, 7) for task, table in tables().items()]


def write_pairs(folder: Path, tasks=TASKS) -> Path:
    """The pairs artifact, as the convert stage would have left it."""
    folder.mkdir(exist_ok=True)
    rows = {task: {"test": write_split(folder, task, "test", pairs()[task], PAIRS)} for task in tasks}
    manifest = {"stage": "convert", "content": "", "tasks": TASKS, "rows": rows}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


# ---- the scores -----------------------------------------------------------------------------------------------------

def test_modules_load_from_their_folders(tmp_path, monkeypatch):
    """Offline, by path, each equal to another library; nothing is written beside them."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = sorted(MODULES.rglob("*"))
    modules = {path.name: evaluate.load(str(path), keep_in_memory=True) for path in MODULES.iterdir() if path.is_dir()}
    assert sorted(modules) == ["accuracy", "ndcg_at_10", "spearman", "v_measure"]
    rng = np.random.default_rng(0)
    scores, right = rng.random((30, 40)), (rng.random((30, 40)) < 0.1) | np.eye(30, 40, dtype=bool)
    ranked, relevant = np.argsort(-scores)[:, :10], [np.flatnonzero(row).tolist() for row in right]
    assert modules["ndcg_at_10"].compute(predictions=ranked, references=relevant) == {
        "ndcg_at_10": pytest.approx(ndcg_score(right, scores, k=10))}
    left, gold = rng.random(50).astype(np.float32), rng.integers(0, 5, 50) / 5
    assert modules["spearman"].compute(predictions=left, references=gold) == {
        "spearman": pytest.approx(spearmanr(left, gold).statistic)}
    assert modules["accuracy"].compute(predictions=[0, 1, 2, 2], references=[0, 1, 1, 2]) == {"accuracy": 0.75}
    assert modules["v_measure"].compute(predictions=[5, 5, 3, 3], references=[0, 0, 1, 1]) == {"v_measure": 1.0}
    left_over = [path for path in sorted(MODULES.rglob("*")) if path not in before and path.name != "__pycache__"]
    assert not [path for path in left_over if path.suffix != ".pyc"]


@pytest.mark.parametrize("examples", [0, 2])
def test_scores_are_those_of_the_benchmark(tiny_model, triplets, tmp_path, examples):
    """One number, wherever it is measured: packed rows here, each text on its own through the benchmark there."""
    held_out = samples(100)
    made = trainer(tiny_model, tmp_path, held_out=few_shot(held_out, triplets, 2, 7) if examples else held_out)
    scores = made.evaluate()
    model, tokenizer = made.model.eval(), made.processing_class

    def encode(texts, prompt):
        with torch.no_grad():
            states = [model(input_ids=torch.tensor([tokenizer(prompt + t)["input_ids"]])).last_hidden_state[0, -1]
                      for t in texts]
        return torch.nn.functional.normalize(torch.stack(states), dim=-1).numpy()

    values = []
    for task, rows in pairs().items():
        passages = list(dict.fromkeys(row["positive"] for row in rows))
        kind, instruction = TASKS[task]["kind"], TASKS[task]["instruction"]
        shown = [as_example(row) for row in rows_shown(triplets[task], task, examples, 7)]
        prompt = fitted_prompt(tokenizer, instruction, shown, 256, 320 - 128)
        assert bool(examples) == ("Response: " in prompt)  # two, or as many as fit
        (row,) = score(HeldOut(task, kind, instruction, rows, passages, passages), encode, prompt, 1000)
        name = f"{task}_2_examples" if examples else task
        assert scores[f"eval_{name}_{row['metric']}"] == pytest.approx(row["value"], abs=1e-5), task
        values.append(row["value"])
    assert scores["eval_mean"] == pytest.approx(np.mean(values), abs=1e-5) and len(values) == len(TASKS)
    assert "eval_runtime" in scores and "eval_steps_per_second" not in scores


def test_few_shot_rows_are_the_same_rows(triplets):
    """If this fails, a score with examples beside one without compares two things."""
    held_out = samples()
    shown = few_shot(held_out, triplets, 2, 7)
    assert [(s.sides, s.right, s.kind) for s in shown] == [(s.sides, s.right, s.kind) for s in held_out]
    assert all(len(s.examples) == 2 for s in shown) and few_shot(held_out, triplets, 0, 7) == []
    assert [s.name for s in few_shot(held_out, {"topics": triplets["topics"]}, 2, 7)] == ["topics_2_examples"]


def test_samples(tmp_path):
    """Another sample in every run would make curves that cannot be compared; a passage that is right may not count
    as wrong because the row that says so was not drawn; fewer labels would make the task easier."""
    folder = str(write_pairs(tmp_path))
    once, again, other = (read_samples(folder, 8, seed) for seed in (7, 7, 8))
    assert once == again and once != other and [drawn.name for drawn in once] == list(TASKS)
    assert all(len(drawn.sides[0]) == 8 for drawn in once)
    held_out, right = tables(), {row["query"]: set() for row in pairs()["questions"]}
    for row in pairs()["questions"]:
        right[row["query"]].add(row["positive"])
    for seed in range(20):
        intents = sample("intents", TASKS["intents"], held_out["intents"], 2, seed)
        assert intents.sides[1] == ["food", "music", "travel"]
        drawn = sample("questions", TASKS["questions"], held_out["questions"], 12, seed)
        for query, numbers in zip(drawn.sides[0], drawn.right):
            assert {drawn.sides[1][n] for n in numbers} == right[query] & set(drawn.sides[1])


# ---- at no cost to training -----------------------------------------------------------------------------------------

def test_evaluation_changes_nothing(tiny_model, tmp_path):
    """A run that is watched must give the adapter of one that is not, bit for bit, and so must one that resumes."""
    options = {"dropout": 0.1, "arguments": {"save_strategy": "steps", "save_steps": 4, "max_steps": 8}}
    plain = train_one(tiny_model, tmp_path / "plain", options)
    watched = options | {"held_out": samples(), "arguments": options["arguments"] | OFTEN | {"eval_on_start": True}}
    whole = train_one(tiny_model, tmp_path / "watched", watched)
    resumed = train_one(tiny_model, tmp_path / "watched", watched, str(tmp_path / "watched" / "checkpoint-4"))
    for run in (whole, resumed):
        assert all(torch.equal(plain["adapter"][name], run["adapter"][name]) for name in plain["adapter"])
        assert [loss for loss, _ in run["seen"]] == [loss for loss, _ in plain["seen"]][-len(run["seen"]):]
    one, two = (torch.load(tmp_path / run / "checkpoint-4" / "rng_state.pth", weights_only=False)
                for run in ("plain", "watched"))
    assert torch.equal(one["cpu"], two["cpu"]) and one["python"] == two["python"]
    assert all(np.array_equal(a, b) for a, b in zip(one["numpy"], two["numpy"]))
    means = {line["step"]: line["eval_mean"] for line in whole["log"] if "eval_mean" in line}
    assert list(means) == [0, 2, 4, 6, 8] and len(set(means.values())) > 2
    assert not any("eval_mean" in line for line in plain["log"])


@pytest.mark.slow
def test_two_processes_score_the_same(tiny_model, tmp_path):
    """Each encodes its share; what they share is exact, nobody waits for ever, and both keep the same checkpoint."""
    options = {"held_out": samples(), "keys": {"token_budget": 60},
               "arguments": BEST | {"eval_on_start": True, "max_steps": 4}}
    alone = train_one(tiny_model, tmp_path / "one", options)
    together = in_processes(train_one, 2, tmp_path, tiny_model, tmp_path / "two", options)
    ones, twos = ([line for line in run["log"] if "eval_mean" in line] for run in (alone, together))
    assert together["processes"] == 2 and [line["step"] for line in twos] == [0, 2, 4]
    names = [name for name in ones[0] if name.startswith("eval_") and "second" not in name and "runtime" not in name]
    assert len(names) == 6 and all(ones[0][name] == twos[0][name] for name in names)  # the same adapter: exact
    for one, two in zip(ones[1:], twos[1:]):  # adapters that differ by rounding
        assert all(one[name] == pytest.approx(two[name], abs=0.02) for name in names)


# ---- the best is kept -----------------------------------------------------------------------------------------------

class Scripted:
    """Scores that were made up: the adapter after step 4 is the best."""

    names = ["mean", "other"]

    def __init__(self):
        self.values = iter([0.1, 0.9, 0.3, 0.5, 0.2])

    def __call__(self, prediction):
        return {"mean": next(self.values), "other": 0.0}


def test_the_best_checkpoint_is_the_adapter(tiny_model, tmp_path):
    """Otherwise `load_best_model_at_end` is a promise; it must outlive the limit of checkpoints."""
    options = {"held_out": samples(2), "score": Scripted(), "arguments": BEST | {"save_total_limit": 2}}
    made = trainer(tiny_model, tmp_path / "best", **options)
    made.train()
    plain = trainer(tiny_model, tmp_path / "plain", arguments={"max_steps": 10, "save_strategy": "steps",
                                                               "save_steps": 2})
    plain.train()
    saved = load_file(tmp_path / "plain" / "checkpoint-4" / "adapter_model.safetensors")
    kept, last = adapter_of(made), adapter_of(plain)
    assert made.state.best_global_step == 4 and scores_of(made.state, True)["eval_mean"] == 0.9
    assert scores_of(made.state, False)["step"] == 10
    assert len(kept) == len(saved) and any(not torch.equal(kept[name], last[name]) for name in kept)
    for name, weight in saved.items():
        assert torch.equal(weight, kept[name.replace(".weight", ".default.weight")]), name


def test_the_best_is_found_after_a_kill_and_a_move(tiny_model, tmp_path):
    """The best of all steps, those before the kill included, wherever the run's folder lies by now."""
    options = {"held_out": samples(2), "arguments": BEST | {"save_strategy": "best"}}
    killed = trainer(tiny_model, tmp_path / "here", score=Scripted(), **options)
    killed.kill_at = 7
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    shutil.move(tmp_path / "here", tmp_path / "there")
    checkpoint = last_complete(tmp_path / "there")
    assert checkpoint.endswith("checkpoint-4")
    after = Scripted()
    after.values = iter([0.3, 0.5, 0.2])
    resumed = trainer(tiny_model, tmp_path / "there", score=after, **options)
    resumed.train(resume_from_checkpoint=checkpoint)
    assert resumed.state.best_global_step == 4 and "there" in resumed.state.best_model_checkpoint
    saved = load_file(tmp_path / "there" / "checkpoint-4" / "adapter_model.safetensors")
    assert all(torch.equal(weight, adapter_of(resumed)[name.replace(".weight", ".default.weight")])
               for name, weight in saved.items())


# ---- what is refused ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments, sentence", [
    ({"metric_for_best_model": "recall"}, "metric_for_best_model: 'recall' is no score .* mean, questions_ndcg_at_10"),
    ({"load_best_model_at_end": True, "save_strategy": "steps", "save_steps": 2}, "metric_for_best_model: 'loss'"),
    ({"metric_for_best_model": "eval_mean", "greater_is_better": False}, "greater_is_better: False .* worst"),
    ({"per_device_eval_batch_size": 4}, "per_device_eval_batch_size: 4 is not possible; .*eval_rows"),
])
def test_settings_that_would_keep_another_checkpoint(tiny_model, tmp_path, arguments, sentence):
    """Before the first step, not after the first evaluation."""
    with pytest.raises(RecipeError, match=sentence):
        trainer(tiny_model, tmp_path, held_out=samples(), arguments=OFTEN | arguments)


@pytest.mark.parametrize("given, sentence", [
    ({"eval_strategy": "steps"}, "eval_steps: is missing"),
    (OFTEN | {"load_best_model_at_end": True}, "save_steps: 500 is not possible .* save_steps: 2"),
    (OFTEN | {"load_best_model_at_end": True, "save_steps": 4}, "save_steps: 4 is not possible .* save_steps: 2"),
])
def test_the_best_depends_on_keys_only(given, sentence):
    """`save_steps` makes no other artifact; if it chose the checkpoint, an artifact would be taken for another."""
    with pytest.raises(RecipeError, match=sentence):
        TrainConfig.evaluates(given)


@pytest.mark.parametrize("given, asked", [
    ({}, False), ({"eval_strategy": "no", "eval_steps": 3}, False), ({"eval_strategy": "epoch"}, True), (OFTEN, True),
    (OFTEN | {"load_best_model_at_end": True, "save_steps": 2}, True),
    (OFTEN | {"load_best_model_at_end": True, "save_strategy": "best"}, True)])
def test_who_asks_for_evaluation(given, asked):
    """Without it there is no new input, and what was trained before stays up to date."""
    assert TrainConfig.evaluates(given) is asked


def test_pairs_without_held_out_rows(tmp_path):
    """The sentence says where held-out rows come from."""
    with pytest.raises(RecipeError, match="pairs: .* has no test split .* test_split or test_path"):
        read_samples(str(write_pairs(tmp_path, tasks=[])), 20, 7)
    with pytest.raises(RecipeError, match="eval_rows: 1 is not possible; write 2 or more"):
        TrainConfig(artifacts="x", eval_rows=1)


def test_rows_that_say_nothing_are_left_out(tmp_path, caplog):
    """The correlation with one and the same number is no number, and neither would be the mean."""
    folder = write_pairs(tmp_path)
    same = [row | {"label_score": 0.5} for row in pairs()["graded"]]
    write_split(folder, "graded", "test", same, PAIRS)
    assert [drawn.name for drawn in read_samples(str(folder), 8, 7)] == [task for task in TASKS if task != "graded"]
    assert "held-out rows of 'graded' leave nothing to tell apart" in caplog.text


def test_told_to_end_within_an_epoch(tiny_model, tmp_path):
    """A score that a run which was not stopped never sees could choose another adapter, once it has gone on."""
    keys = {"save_strategy": "epoch", "eval_strategy": "epoch", "num_train_epochs": 2}
    made = trainer(tiny_model, tmp_path, held_out=samples(), arguments=keys)
    made.term_at = 1
    made.train()
    assert made.state.global_step == 2 < made.steps.per_epoch and made.save_on_term.stopped
    assert not any("eval_mean" in line for line in made.state.log_history)
    assert last_complete(tmp_path).endswith("checkpoint-2")


def test_told_to_end_in_a_step_that_is_scored(tiny_model, tmp_path):
    """With `save_strategy: best` a score that is not the best would undo the checkpoint that SIGTERM asks for."""
    made = trainer(tiny_model, tmp_path, held_out=samples(2), score=Scripted(),
                   arguments=BEST | {"save_strategy": "best"})
    made.term_at = 5
    made.train()
    assert made.save_on_term.stopped and made.state.global_step == 6
    assert last_complete(tmp_path).endswith("checkpoint-6") and made.state.best_global_step == 4


def test_told_to_end_with_an_epoch(tiny_model, tmp_path):
    """Else that epoch's score is lost for good, as the run that goes on begins with the next epoch."""
    keys = {"save_strategy": "epoch", "eval_strategy": "epoch", "num_train_epochs": 2}
    made = trainer(tiny_model, tmp_path, held_out=samples(), arguments=keys)
    made.term_at = made.steps.per_epoch - 1
    made.train()
    assert made.save_on_term.stopped and made.state.global_step == made.steps.per_epoch
    kept = json.loads((Path(last_complete(tmp_path)) / "trainer_state.json").read_text())
    assert [line["step"] for line in kept["log_history"] if "eval_mean" in line] == [made.steps.per_epoch]


# ---- the stage ------------------------------------------------------------------------------------------------------

STAGE = {"eval_strategy": "steps", "eval_steps": 5, "save_steps": 5, "load_best_model_at_end": True, "eval_rows": 8,
         "eval_examples": 2, "metric_for_best_model": "mean"}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [ONE, TWO], ids=["one process", "two processes"])
def test_the_stage(tmp_path, launcher):
    """As users run it: scores in the log and the manifest, the pairs among the parents, the best adapter written."""
    folder = world(tmp_path)
    write_pairs(folder / "pairs")
    done = train(launcher, folder, **STAGE)
    assert done.returncode == 0, done.stderr[-2000:]
    manifest = json.loads((folder / "adapter" / "manifest.json").read_text())
    log = json.loads((folder / "adapter" / "training_log.json").read_text())
    lines = [line for line in log if "eval_mean" in line]
    best = max(lines, key=lambda line: line["eval_mean"])
    assert [line["step"] for line in lines] == [5, 10, 11] and "pairs" in manifest["parents"]
    assert manifest["training"]["held_out"].items() <= best.items() and len(manifest["training"]["held_out"]) == 12
    assert "held_out.eval_mean" in (folder / "adapter" / "README.md").read_text()
    again = train(launcher, folder, **STAGE)
    assert "is up to date" in again.stdout


@pytest.mark.slow
def test_the_stage_without_held_out_rows(tmp_path):
    """Exit code 2 and one sentence, before any model is loaded."""
    folder = world(tmp_path)
    assert "pairs: there is nothing at" in train(ONE, folder, **STAGE).stderr
    write_pairs(folder / "pairs", tasks=[])
    done = train(ONE, folder, **STAGE)
    assert done.returncode == 2 and "has no test split that eval_strategy could score" in done.stderr
    assert not (folder / "adapter").exists()


def test_modules_are_shipped(tmp_path):
    """An installed package without them would fail at the first evaluation."""
    code = ("import setuptools; from setuptools.command.build_py import build_py; from setuptools.dist import "
            "Distribution; d = Distribution(); d.parse_config_files(); c = build_py(d); c.finalize_options(); "
            "print([f for p, _, _, fs in c.data_files for f in fs if p == 'anna_embed.evaluation'])")
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    for path in MODULES.glob("*/*.py"):
        assert f"modules/{path.parent.name}/{path.name}" in out
