"""Model to results: held-out rows and mteb tasks, beside the base model and the teachers.

    python -m recipes.benchmark --config recipes/quickstart/benchmark.yaml --tasks STSBenchmark SICK-R
    python -m recipes.benchmark --config recipes/quickstart/benchmark.yaml --mirror artifacts/mirror  # a laptop, 3 min

Reads      model, pairs (their test splits); for comparison: a base model, a SentenceTransformer, a CrossEncoder
Publishes  results (dataset): one row per model, task and metric
"""

import tempfile
from pathlib import Path

from anna_embed.artifacts import Stage, go_offline, locate
from anna_embed.config import BenchmarkConfig
from anna_embed.parsing import one_sentence, parse


def plan(config: BenchmarkConfig, given: dict) -> Stage:
    parents = {"model": locate("model", config.input("model"), "model", config.mirror),
               "pairs": locate("pairs", config.input("pairs"), "dataset", config.mirror)}
    if config.baselines:
        parents["reranker"] = locate("reranker", config.input("reranker"), "model", config.mirror)
        for key in ("base_model", "dense_model"):
            config.require(key, getattr(config, key) is not None, "name a model, or set baselines: false")
            parents[key] = locate(key, getattr(config, key), "model", config.mirror)
    if config.tasks:
        from anna_embed.evaluation.mteb_tasks import locate_tasks

        parents |= locate_tasks(config.tasks, config.mirror)
    return Stage("benchmark", f"{config.artifacts}/results", given, parents)


def main(config: BenchmarkConfig, given: dict) -> None:
    if config.mirror:
        go_offline()
    stage = plan(config, given)
    if stage.is_current:
        return print(f"benchmark: {stage.output} is up to date")

    from anna_embed.artifacts import read_manifest
    from anna_embed.evaluation.heldout import read_held_out, score_all
    from anna_embed.evaluation.show import as_text
    from anna_embed.evaluation.teachers import teacher_scores
    from anna_embed.hub.cards import render
    from anna_embed.kinds import KINDS
    from anna_embed.model.encode import lay_out_untrained, load_encoder
    from anna_embed.model.stored_prompts import prompt_names
    from anna_embed.prompts import query_prompt
    from anna_embed.schema import RESULTS
    from anna_embed.tables import columns_of, data_files, tasks_of, write_split
    from anna_embed.teacher import reranker
    from anna_embed.teacher.bm25 import BM25
    from anna_embed.teacher.fusion import rrf

    # ---- read -------------------------------------------------------------------------------------------------------
    work, path = stage.begin(), {key: parent.path for key, parent in stage.parents.items()}
    tasks, few = tasks_of("pairs", path["pairs"]), config.rerank_queries
    held_out = read_held_out(path["pairs"], tasks, read_manifest(path["pairs"])["rows"])
    plain = {task: query_prompt(t["instruction"]) for task, t in tasks.items()}
    stored = read_manifest(path["model"]).get("prompts", {})
    shipped = {task: stored.get(name, plain[task]) for task, name in prompt_names(tasks).items()}
    how = {"max_length": config.max_length, "batch_size": config.batch_size, "dtype": config.dtype}
    table = []

    def evaluate(name, load, prompts):
        table.extend(score_all(name, load, held_out, prompts, few, work / ".scores"))

    # ---- models -----------------------------------------------------------------------------------------------------
    evaluate("trained model", lambda: load_encoder(path["model"], **how), shipped)
    if config.baselines:
        evaluate("dense teacher", lambda: load_encoder(path["dense_model"], **how), dict.fromkeys(tasks, ""))
        with tempfile.TemporaryDirectory() as folder:
            lay_out_untrained(path["base_model"], Path(folder))
            evaluate("base model", lambda: load_encoder(folder, **how), plain)
        retrieval = [task for task in held_out if KINDS[task.kind].scored]
        if retrieval:
            dense = load_encoder(path["dense_model"], **how)
            cross_encoder = reranker.load(path["reranker"], config.max_length, config.dtype)
        for task in retrieval:
            cosines = dense(list(task.queries.values())[:few], "") @ dense(task.passages, "").T
            table += teacher_scores(task, BM25(task.passages).scores, cosines,
                                    lambda pairs: reranker.score(cross_encoder, pairs, config.batch_size, True), rrf,
                                    config.rerank_depth, few)
    if config.tasks:
        from anna_embed.evaluation.mteb_tasks import prompts_by_task, run_tasks

        rows = run_tasks(config.tasks, path["model"], stage.parents["model"].digest, prompts_by_task(tasks, shipped),
                         stage.parents, Path(config.artifacts) / ".cache" / "mteb", config.batch_size, config.dtype)
        table += [{"model": "trained model", **row} for row in rows]

    # ---- results ----------------------------------------------------------------------------------------------------
    rows = {"results": {"test": write_split(work, "results", "test", table, RESULTS)}}
    manifest = stage.manifest(rows, columns={"results": columns_of(RESULTS)}, files=data_files(rows), tasks=tasks,
                              table=table)
    render(work, manifest)
    stage.finish(manifest)
    beside = Path(config.artifacts, "model")
    if read_manifest(beside).get("content") == stage.parents["model"].digest:
        render(beside, read_manifest(beside))  # the model's card shows the results beside it
    print(as_text(table))


if __name__ == "__main__":
    with one_sentence():
        main(*parse(BenchmarkConfig))
