"""Sources to pairs: every task's rows in one shape, deduplicated, and without what occurs in a test set.

    python -m recipes.convert --config recipes/own_data/convert.yaml
    python -m recipes.convert --config recipes/quickstart/convert.yaml --mirror artifacts/mirror      # a laptop, 3 s

Reads      the sources that the YAML names (Hub ids, folders, JSONL, CSV or parquet files)
Publishes  pairs (dataset): one config per task, `<task>-corpus` beside a retrieval task; held-out rows as `test`
"""

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from recipes.publish import pushed

from anna_embed.artifacts import Stage
from anna_embed.config import ConvertConfig
from anna_embed.fetch import go_offline
from anna_embed.parsing import RecipeError, one_sentence, parse

SHOWN = ("kind", "instruction", "path", "split", "licence", "mteb_tasks", "notes")  # of a source, in manifest and card


def plan(config: ConvertConfig, given: dict) -> Stage:
    from anna_embed.data.locate import locate_data, locate_source
    from anna_embed.data.tasks import read_tasks

    parents = {k: v for source in read_tasks(config.tasks) for k, v in locate_source(source, config.mirror).items()}
    for number, named in enumerate(config.test_sets):
        at = locate_data("test_sets: path", named["path"], named.get("revision"), config.mirror)
        parents[f"test set {number}: {named['path']}"] = at
    return Stage("convert", f"{config.artifacts}/pairs", given, parents)


def main(config: ConvertConfig, given: dict) -> None:
    if config.mirror:
        go_offline()
    stage = plan(config, given)
    if stage.is_current:
        return print(f"convert: {stage.output} is up to date")
    work = stage.begin()
    try:
        make(config, stage, work)
    except RecipeError:
        stage.discard()  # nothing half-written stays behind; a kill cannot clean up, the next run does
        raise


def make(config: ConvertConfig, stage: Stage, work: Path) -> None:
    from tqdm import tqdm

    from anna_embed.data.audit import Protected, texts_of_test_set
    from anna_embed.data.locate import held_out_name
    from anna_embed.data.pairs import held_out, training
    from anna_embed.data.tasks import read_tasks
    from anna_embed.hub.cards import render
    from anna_embed.schema import CORPUS, PAIRS
    from anna_embed.tables import columns_of, data_files, write_split

    sources = read_tasks(config.tasks)
    protected, rows, columns, dropped, steps = Protected(config.decontaminate), defaultdict(dict), {}, [], {}

    def write(source, split, table):
        label = source.name if split == "train" else f"{source.name} ({split})"
        dropped.extend({"task": label, "reason": reason, "rows": n} for reason, n in sorted(table.dropped.items()))
        steps[label] = table.steps
        parts = {source.name: (table.pairs, PAIRS), f"{source.name}-corpus": (table.passages, CORPUS)}
        for name, (made, features) in parts.items():
            if made:
                rows[name][split] = write_split(work, name, split, made, features)
                columns[name] = columns_of(features)

    # ---- test sets and held-out rows first: no training row may share a text with them -----------------------------
    for number, named in enumerate(config.test_sets):
        at = stage.parents[f"test set {number}: {named['path']}"]
        protected.add(named["path"], texts_of_test_set(at, named))
    apart = [source for source in sources if source.holds_out]
    for source in tqdm(apart, desc="Held-out rows", unit="task", disable=not apart):
        write(source, "test", held_out(source, stage.parents[held_out_name(source)], config.seed, protected))

    # ---- training rows ---------------------------------------------------------------------------------------------
    for source in tqdm(sources, desc="Training rows", unit="task"):
        write(source, "train", training(source, stage.parents[source.name], config.seed, protected))

    # ---- manifest and card -----------------------------------------------------------------------------------------
    tasks = {s.name: {key: asdict(s)[key] for key in SHOWN} for s in sources}
    manifest = stage.manifest(rows, dropped, columns=columns, files=data_files(rows), tasks=tasks, steps=steps)
    render(work, manifest)
    stage.finish(manifest)


if __name__ == "__main__":
    with one_sentence():
        config, given = parse(ConvertConfig)
        with pushed(config, "pairs"):
            main(config, given)
