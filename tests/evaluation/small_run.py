"""A run's folder with what the report reads: scores and triplets, a training log, held-out pairs, results."""

import json
from pathlib import Path

import numpy as np
from small import SENTENCES

from anna_embed.artifacts import Stage
from anna_embed.evaluation.compare import public_models
from anna_embed.model.encode import lay_out_untrained
from anna_embed.schema import CORPUS, PAIRS, RESULTS, SCORES, TEACHERS, TRIPLETS
from anna_embed.tables import write_split
from anna_embed.teacher.fusion import rrf
from anna_embed.teacher.mine import Rule, mine

TASKS = {"questions": {"kind": "retrieval", "instruction": "Find the answer"},
         "intents": {"kind": "classification", "instruction": "Find the intent"}}
RULE = {"num_negatives": 3, "margin": 0.9, "top_k": 6}


def scored_query(number: int, draw: np.random.Generator) -> dict:
    """Twelve candidates with random scores; some queries have two positives."""
    right = 2 if number % 5 == 0 else 1
    made = {name: draw.normal(0.3, 0.2, 12).round(2) for name in TEACHERS}
    for name in TEACHERS:
        made[name][:right] += 0.4
    ids = [f"q{number}p{n}" for n in range(12)]
    made["rrf"] = rrf([made["bm25"], made["dense"]], ids)
    return {"query_id": f"q{number}", "query": f"query {number}", "candidate_ids": ids,
            "candidates": [f"passage {i}" for i in ids], "is_positive": [n < right for n in range(12)],
            **{name: list(map(float, scores)) for name, scores in made.items()}}


def teacher_and_miner(artifacts: Path, queries: int = 40, **rule) -> dict[str, float]:
    """Scores, and triplets that the miner itself made of them; its sums of what happened."""
    draw, counts, triplets = np.random.default_rng(0), {}, []
    rows = [scored_query(number, draw) for number in range(queries)]
    for row in rows:
        for positive in (i for i, right in zip(row["candidate_ids"], row["is_positive"]) if right):
            pair = {"query_id": row["query_id"], "query": row["query"], "positive_id": positive, "positive": positive,
                    "label": None, "label_score": None, "task": "questions"}
            triplet, happened = mine(pair, row, Rule(**RULE | rule))
            triplets.append(triplet)
            counts = {name: counts.get(name, 0) + number for name, number in happened.items()} | {
                name: number for name, number in counts.items() if name not in happened}
    scores, mined = (Stage(name, f"{artifacts}/{folder}", given, {}) for name, folder, given in
                     (("score", "scores", {}), ("mine", "triplets", RULE | rule)))
    for stage, some, features in ((scores, rows, SCORES), (mined, triplets, TRIPLETS)):
        number = write_split(stage.begin(), "questions", "train", some, features)
        stage.finish(stage.manifest({"questions": {"train": number}}, tasks=TASKS))
    return counts


def pairs(artifacts: Path) -> None:
    nothing = {"negatives": [], "label": None, "label_score": None, "task": "questions"}
    held_out = [{"query_id": f"q{n}", "query": text.split(" ", 2)[2], "positive_id": f"p{n}", "positive": text,
                 **nothing} for n, text in enumerate(SENTENCES)]
    intents = [row | {"positive": "abcd"[n % 4], "task": "intents"} for n, row in enumerate(held_out)]
    stage = Stage("convert", f"{artifacts}/pairs", {}, {})
    corpus = [{"id": row["positive_id"], "text": row["positive"]} for row in held_out]
    rows = {"questions": {"test": write_split(stage.begin(), "questions", "test", held_out, PAIRS)},
            "questions-corpus": {"test": write_split(stage.work, "questions-corpus", "test", corpus, CORPUS)},
            "intents": {"test": write_split(stage.work, "intents", "test", intents, PAIRS)}}
    dropped = [{"task": "questions", "reason": "text occurs in the test set <b>X</b>", "rows": 7}]
    stage.finish(stage.manifest(rows, dropped, tasks=TASKS))


def adapter_and_model(artifacts: Path, base: Path) -> None:
    log = [{"loss": 4 / step, "loss_hard": 3 / step, "loss_soft": 1 / step, "grad_norm": 2.0, "learning_rate": 1e-4,
            "target_entropy": 0.3, "tokens_per_second": 900, "distinct_share": 0.4, "step": step} for step in (5, 10)]
    log += [{"eval_questions_ndcg_at_10": 0.5, "eval_runtime": 3.0, "step": 10}, {"train_runtime": 90.0, "step": 10}]
    base_model = {"name": str(base), "digest": "0", "commit": None}
    stage = Stage("train", f"{artifacts}/adapter", {}, {})
    (stage.begin() / "training_log.json").write_text(json.dumps(log))
    stage.finish(stage.manifest({"questions": {"train": 40}}, tasks=TASKS, base_model=base_model, training={
        "steps": 10, "processes": 2, "max_length": 64, "prompt_max_length": 64, "final": log[-1]}))
    stage = Stage("export", f"{artifacts}/model", {}, {})
    lay_out_untrained(str(base), stage.begin())
    stage.finish(stage.manifest({}, tasks=TASKS, prompts={}, max_seq_length=512, dimension=32, base_model=base_model))


def results(artifacts: Path, mteb: bool = True) -> None:
    table = [{"model": model, "task": "questions", "metric": "ndcg_at_10", "value": value, "n": 20, "note": None}
             for model, value in (("trained model", 0.8765), ("base model", 0.1234), ("dense teacher", 0.9012))]
    table += [table[0] | {"task": "intents", "metric": "accuracy", "value": 0.65}]
    if mteb:
        of_one = public_models()[lambda t: t["model"] == "e5-mistral-7b-instruct"]
        table += [{"model": "trained model", "task": row.task, "metric": "main_score", "value": row.main_score / 2,
                   "n": 100, "note": "a part of mteb's data" if row.task == "STS12" else None}
                  for row in of_one[of_one["type"] == "STS"].itertuples()]
    stage = Stage("benchmark", f"{artifacts}/results", {}, {})
    rows = {"results": {"test": write_split(stage.begin(), "results", "test", table, RESULTS)}}
    stage.finish(stage.manifest(rows, table=table, tasks=TASKS))


def make(artifacts: Path, base: Path) -> None:
    teacher_and_miner(artifacts)
    pairs(artifacts)
    adapter_and_model(artifacts, base)
    results(artifacts)
