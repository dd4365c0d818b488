"""Model to results: held-out rows and mteb tasks, beside the base model and the teachers.

    python -m recipes.benchmark --config recipes/quickstart/benchmark.yaml --tasks STSBenchmark SICK-R
    python -m recipes.benchmark --config recipes/quickstart/benchmark.yaml --mirror artifacts/mirror  # a laptop, 3 min
    python -m recipes.benchmark --model org/name --benchmark "MTEB(eng, v2)" --artifacts artifacts/name
    python -m recipes.benchmark --model org/name --panel --artifacts artifacts/name --mirror my_mirror

Reads      model (exported here, any SentenceTransformer, or a bare decoder); pairs (their test splits), which may be
           missing where mteb tasks are named; for comparison: a base model, a SentenceTransformer, a CrossEncoder
Publishes  results (dataset): one row per model, task and metric
"""

import tempfile
from pathlib import Path

from recipes.publish import pushed

from anna_embed.artifacts import CARD, Stage, read_manifest
from anna_embed.config import BenchmarkConfig
from anna_embed.fetch import go_offline
from anna_embed.located import locate
from anna_embed.parsing import one_sentence, parse


def plan(config: BenchmarkConfig, given: dict) -> Stage:
    parents = {"model": locate("model", config.input("model"), "model", config.mirror)}
    if config.asks_mteb:
        from anna_embed.evaluation.panel import locate_parts

        located = locate_parts(parts_of(config), config.mirror, config.tasks, config.benchmark)
        parents |= {f"mteb {part.name}": at for part, at in located.items()}
    if config.pairs or not config.asks_mteb or Path(config.input("pairs")).exists():
        parents["pairs"] = locate("pairs", config.input("pairs"), "dataset", config.mirror)
        config.require("pairs", read_manifest(parents["pairs"].path).get("stage") in (None, "convert"),
                       "name an artifact that the convert stage made")
        if config.baselines:
            parents["reranker"] = locate("reranker", config.input("reranker"), "model", config.mirror)
            for key in ("base_model", "dense_model"):
                config.require(key, getattr(config, key) is not None, "name a model, or set baselines: false")
                parents[key] = locate(key, getattr(config, key), "model", config.mirror)
    config.require("num_examples", not config.num_examples or "pairs" in parents,
                   "examples are drawn from the training rows of the pairs: name them (--pairs)")
    return Stage("benchmark", f"{config.artifacts}/results", given, parents)


def main(config: BenchmarkConfig, given: dict) -> None:
    if config.mirror:
        go_offline()
    stage = plan(config, given)
    if stage.is_current:
        return print(f"benchmark: {stage.output} is up to date")

    from anna_embed.evaluation.panel import mean_of
    from anna_embed.evaluation.scored_model import ScoredModel
    from anna_embed.evaluation.show import as_text, command
    from anna_embed.hub.cards import is_as_rendered, render
    from anna_embed.precision import fastest_device, note_if_slow
    from anna_embed.schema import RESULTS
    from anna_embed.tables import columns_of, data_files, write_split

    # ---- the model --------------------------------------------------------------------------------------------------
    parts, records = parts_of(config) if config.asks_mteb else [], []
    pairs = stage.parents["pairs"].path if "pairs" in stage.parents else None
    table, absent = [], [part.name for part in parts if f"mteb {part.name}" not in stage.parents]
    with tempfile.TemporaryDirectory() as folder:
        model = ScoredModel(stage.parents["model"], pairs, config, Path(folder))
        print(f"benchmark: {model.reference} is {model.what}", flush=True)
        note_if_slow(config.dtype, fastest_device(), "--dtype float32")
        work = stage.begin()

        # ---- scores -------------------------------------------------------------------------------------------------
        if pairs:
            table += apart(held_out_scores(config, stage, model, work / ".scores"), parts)
        if parts:
            records = mteb_scores(config, stage, model, parts)
            table += [{"model": model.name, **row} for row in records + mean_of(config.benchmark, records)]
    table = [{column: row.get(column) for column in RESULTS} for row in table]

    # ---- results ----------------------------------------------------------------------------------------------------
    rows = {"results": {"test": write_split(work, "results", "test", table, RESULTS)}}
    manifest = stage.manifest(rows, columns={"results": columns_of(RESULTS)}, files=data_files(rows),
                              tasks=model.tasks, table=table, mteb=records, absent=absent, command=command())
    render(work, manifest)
    stage.finish(manifest)
    beside = Path(config.artifacts, "model")
    if read_manifest(beside).get("content") == stage.parents["model"].digest:
        if is_as_rendered(beside):
            render(beside, read_manifest(beside))  # the model's card shows the results beside it
        else:
            print(f"benchmark: {beside / CARD} was edited by hand and stays as it is; the results are not on it")
    print(as_text(table) + (f"\n\nNot scored, as no mirror holds the data: {', '.join(absent)}" if absent else ""))


def parts_of(config: BenchmarkConfig) -> list:
    from anna_embed.evaluation.panel import parts_of

    return parts_of(config.tasks, config.benchmark, config.panel, config.dev_panel)


def held_out_scores(config: BenchmarkConfig, stage: Stage, model, kept: Path) -> list[dict]:
    """The model's scores on the pairs' test splits, and those of its yardsticks."""
    from anna_embed.evaluation.heldout import read_held_out, score_all
    from anna_embed.evaluation.teachers import teacher_scores
    from anna_embed.kinds import KINDS
    from anna_embed.model.encode import lay_out_untrained, load_encoder
    from anna_embed.prompts import query_prompt
    from anna_embed.tables import tasks_of
    from anna_embed.teacher import reranker
    from anna_embed.teacher.bm25 import BM25
    from anna_embed.teacher.fusion import rrf

    path, few = {key: parent.path for key, parent in stage.parents.items()}, config.rerank_queries
    tasks = tasks_of("pairs", path["pairs"])
    held_out = read_held_out(path["pairs"], tasks, read_manifest(path["pairs"])["rows"])
    how = {"max_length": config.max_length, "batch_size": config.batch_size, "dtype": config.dtype}

    def evaluate(name, load, prompts, documents=""):
        return score_all(name, load, held_out, prompts, few, kept, documents)

    table = evaluate(model.name, model.load, model.prompts, model.document_prompt)
    if not config.baselines:
        return table
    asked = {task: config.dense_query_prompt if KINDS[t["kind"]].scored else "" for task, t in tasks.items()}
    table += evaluate("dense teacher", lambda: load_encoder(path["dense_model"], **how), asked,
                      config.dense_document_prompt)
    with tempfile.TemporaryDirectory() as folder:
        lay_out_untrained(path["base_model"], Path(folder))
        plain = {task: query_prompt(t["instruction"]) for task, t in tasks.items()}
        table += evaluate("base model", lambda: load_encoder(folder, **how), plain)
    retrieval = [task for task in held_out if KINDS[task.kind].scored]
    if retrieval:
        dense = load_encoder(path["dense_model"], **how)
        cross_encoder = reranker.load(path["reranker"], config.max_length, config.dtype)
    for task in retrieval:
        cosines = (dense(list(task.queries.values())[:few], config.dense_query_prompt)
                   @ dense(task.passages, config.dense_document_prompt).T)
        table += teacher_scores(task, BM25(task.passages).scores, cosines,
                                lambda pairs: reranker.score(cross_encoder, pairs, config.batch_size, True), rrf,
                                config.rerank_depth, few)
    return table


def apart(table: list[dict], parts: list) -> list[dict]:
    """The scores of held-out rows, under names that no task of mteb has: these are other rows, scored otherwise."""
    from anna_embed.evaluation.compare import task_types

    taken = {part.name for part in parts} | set(task_types())
    return [row | {"task": f"{row['task']} (held-out rows)"} if row["task"] in taken else row for row in table]


def mteb_scores(config: BenchmarkConfig, stage: Stage, model, parts: list) -> list[dict]:
    """mteb's scores of the model; each task that is finished is kept beside the artifact."""
    from anna_embed.data.sources import SOURCES
    from anna_embed.evaluation.mteb_tasks import run_tasks

    located = {part: stage.parents[f"mteb {part.name}"] for part in parts if f"mteb {part.name}" in stage.parents}
    instructions = {name: source.instruction for source in reversed(SOURCES) for name in source.mteb_tasks}
    return run_tasks(model.candidate(instructions), located, Path(config.artifacts) / ".cache" / "mteb")


if __name__ == "__main__":
    with one_sentence():
        config, given = parse(BenchmarkConfig)
        with pushed(config, "results"):
            main(config, given)
