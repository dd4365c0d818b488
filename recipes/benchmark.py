"""Model to results: held-out rows and mteb tasks, beside the base model and the teachers.

    python -m recipes.benchmark --config recipes/quickstart/benchmark.yaml --tasks STSBenchmark SICK-R
    python -m recipes.benchmark --config recipes/quickstart/benchmark.yaml --mirror artifacts/mirror  # a laptop, 3 min
    python -m recipes.benchmark --model org/name --benchmark "MTEB(eng, v2)" --artifacts artifacts/name
    python -m recipes.benchmark --model org/name --panel --artifacts artifacts/name --mirror my_mirror

Reads      model (exported here, any SentenceTransformer, or a bare decoder); pairs (their test splits), unless mteb
           tasks are named; for comparison: a base model, a SentenceTransformer, a CrossEncoder
Publishes  results (dataset): one row per model, task and metric
"""

import tempfile
from pathlib import Path

from recipes.publish import pushed

from anna_embed.artifacts import Stage, go_offline, locate
from anna_embed.config import BenchmarkConfig
from anna_embed.parsing import one_sentence, parse


def plan(config: BenchmarkConfig, given: dict) -> Stage:
    parents = {"model": locate("model", config.input("model"), "model", config.mirror)}
    if config.asks_mteb:
        from anna_embed.evaluation.panel import locate_parts

        located = locate_parts(parts_of(config), config.mirror, config.tasks)
        parents |= {f"mteb {part.name}": at for part, at in located.items()}
    if config.pairs or not config.asks_mteb or Path(config.input("pairs")).exists():
        parents["pairs"] = locate("pairs", config.input("pairs"), "dataset", config.mirror)
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

    from anna_embed.artifacts import read_manifest
    from anna_embed.data.sources import SOURCES
    from anna_embed.evaluation.mteb_tasks import run_tasks
    from anna_embed.evaluation.panel import mean_of
    from anna_embed.evaluation.scored_model import ScoredModel
    from anna_embed.evaluation.show import as_text, command
    from anna_embed.evaluation.yardsticks import held_out_scores
    from anna_embed.hub.cards import render
    from anna_embed.schema import RESULTS
    from anna_embed.tables import columns_of, data_files, write_split

    # ---- the model --------------------------------------------------------------------------------------------------
    parts, records = parts_of(config) if config.asks_mteb else [], []
    located = {part: stage.parents[f"mteb {part.name}"] for part in parts if f"mteb {part.name}" in stage.parents}
    table, absent = [], [part.name for part in parts if part not in located]
    path = {key: parent.path for key, parent in stage.parents.items()}
    with tempfile.TemporaryDirectory() as folder:
        model = ScoredModel(stage.parents["model"], path.get("pairs"), config, Path(folder))
        print(f"benchmark: {model.reference} is {model.what}", flush=True)
        work = stage.begin()

        # ---- scores -------------------------------------------------------------------------------------------------
        if "pairs" in path:
            table += held_out_scores(config, path, model, work / ".scores")
        if parts:
            instructions = {name: source.instruction for source in reversed(SOURCES) for name in source.mteb_tasks}
            records = run_tasks(model.candidate(instructions), located, Path(config.artifacts) / ".cache" / "mteb")
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
        render(beside, read_manifest(beside))  # the model's card shows the results beside it
    print(as_text(table) + (f"\n\nNot scored, as no mirror holds the data: {', '.join(absent)}" if absent else ""))


def parts_of(config: BenchmarkConfig) -> list:
    from anna_embed.evaluation.panel import parts_of

    return parts_of(config.tasks, config.benchmark, config.panel, config.dev_panel)


if __name__ == "__main__":
    with one_sentence():
        config, given = parse(BenchmarkConfig)
        with pushed(config, "results"):
            main(config, given)
