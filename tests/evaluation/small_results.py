"""Folders of mteb's results, and a run whose model was scored by mteb, without running any model."""

import json
from pathlib import Path

import mteb
from mteb.models import ModelMeta
from mteb.results import TaskResult
from small import TASKS

from anna_embed.artifacts import Stage
from anna_embed.evaluation.compare import BENCHMARK
from anna_embed.located import locate
from anna_embed.model.encode import lay_out_untrained
from anna_embed.schema import RESULTS
from anna_embed.tables import write_split

PROMPT = "Instruct: Find it\nQuery: "


def file_result(cache: Path, name: str, revision: str, task, score: float) -> None:
    """As mteb itself files a score: main score, split and subsets of the task in the benchmark."""
    scores = [{"main_score": score, task.metadata.main_score: score, "hf_subset": subset,
               "languages": task.metadata.languages, "mteb_version": mteb.__version__} for subset in task.hf_subsets]
    result = TaskResult(dataset_revision=task.metadata.revision, task_name=task.metadata.name,
                        mteb_version=mteb.__version__, scores={split: scores for split in task.eval_splits},
                        evaluation_time=1.0)
    meta = ModelMeta.create_empty(overwrites={"name": name, "revision": revision})
    mteb.ResultCache(cache).save_to_cache(result, meta, encode_kwargs={"batch_size": 8})


def benchmark_tasks() -> dict:
    return {task.metadata.name: task for task in mteb.get_benchmark(BENCHMARK).tasks}


def make_run(artifacts: Path, base: Path) -> None:
    """A model as the export stage leaves it, results on three tasks and mteb's files of them, each under a revision of
    its own, beside those of an older model."""
    tasks = {name: task | {"mteb_tasks": covers} for (name, task), covers in
             zip(TASKS.items(), (["SciFact", "NQ"], [], ["STS12"], ["Banking77Classification"], []))}
    stage = Stage("export", f"{artifacts}/model", {}, {})
    lay_out_untrained(str(base), stage.begin())
    stage.finish(stage.manifest({}, tasks=tasks, prompts={}, dtype="float32", max_seq_length=512, dimension=32,
                                base_model={"name": str(base), "commit": None}))
    records = [record("STSBenchmark", 0.7), record("Banking77Classification", 0.6, "not quite mteb's data: x"),
               record("STS12", 0.5), record("SciFact, 50 queries", 0.4) | {"mteb_task": "SciFact"}]
    cache = artifacts / ".cache" / "mteb"
    for row in records:
        task = mteb.get_task(row["mteb_task"])
        file_result(cache, "local/run-model", row["revision"], task, row["value"])
        file_result(cache, "local/run-model", "0" * 40, task, 0.99)
    table = [{"model": "trained model", **{key: row[key] for key in ("task", "metric", "value", "n", "note")}}
             for row in records]
    parents = {"model": locate("model", f"{artifacts}/model", "model", [])}
    stage = Stage("benchmark", f"{artifacts}/results", {"dtype": "float32"}, parents)
    rows = {"results": {"test": write_split(stage.begin(), "results", "test", table, RESULTS)}}
    stage.finish(stage.manifest(rows, table=table, mteb=records, tasks=tasks))


def record(task: str, value: float, note: str | None = None) -> dict:
    """What the benchmark stage notes of a score of mteb's."""
    return {"task": task, "mteb_task": task, "metric": "main_score", "value": value, "n": 9, "note": note,
            "revision": format(abs(hash(task)) % 16**12, "040x"),
            "prompt": {"text": PROMPT, "query": PROMPT, "document": "", "origin": "the model's training"}}


def change(file: Path, **keys) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))
