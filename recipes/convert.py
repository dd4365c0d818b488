"""Sources to pairs: every task's rows in one shape, deduplicated, and without what occurs in a test set.

    python -m recipes.convert --config recipes/mistral_7b/convert.yaml
    python -m recipes.convert --config recipes/quickstart/convert.yaml --mirror artifacts/mirror      # a laptop, 20 s

Reads      the sources that the YAML names (Hub ids, folders, JSONL, CSV or parquet files)
Publishes  pairs (dataset): one config per task, `<task>-corpus` beside a retrieval task; held-out rows as `test`
"""

from collections import Counter, defaultdict
from dataclasses import asdict

from anna_embed.artifacts import Stage, go_offline
from anna_embed.config import ConvertConfig
from anna_embed.parsing import one_sentence, parse


def plan(config: ConvertConfig, given: dict) -> Stage:
    from anna_embed.data.load import locate_data, locate_source
    from anna_embed.data.sources import read_tasks

    parents = {}
    for source in read_tasks(config.tasks):
        parents |= locate_source(source, config.mirror)
    for test_set in config.test_sets if config.decontaminate else []:
        path = test_set["path"]
        parents[f"test set {path}"] = locate_data("test_sets", path, test_set.get("revision"), config.mirror)
    return Stage("convert", f"{config.artifacts}/pairs", given, parents)


def main(config: ConvertConfig, given: dict) -> None:
    if config.mirror:
        go_offline()
    stage = plan(config, given)
    if stage.is_current:
        return print(f"convert: {stage.output} is up to date")

    from tqdm import tqdm

    from anna_embed.data.audit import Protected, all_texts, drop_protected
    from anna_embed.data.load import load_rows
    from anna_embed.data.pairs import read_pairs, sample, sample_corpus
    from anna_embed.data.sources import read_tasks
    from anna_embed.hub.cards import render
    from anna_embed.kinds import KINDS
    from anna_embed.schema import CORPUS, PAIRS
    from anna_embed.tables import columns_of, data_files, write_split

    work, sources = stage.begin(), read_tasks(config.tasks)
    rows, columns, dropped, steps = defaultdict(dict), {}, [], {}
    protected = Protected()

    def write(name, split, table, features):
        rows[name][split] = write_split(work, name, split, table, features)
        columns[name] = columns_of(features)

    def account(task, counts):
        dropped.extend({"task": task, "reason": reason, "rows": n} for reason, n in sorted(counts.items()) if n)

    # ---- held-out rows: written first, because no training row may share a text with them ----------------------------
    for source in tqdm([s for s in sources if s.holds_out], desc="Held-out rows", unit="task"):
        at = stage.parents[f"{source.name} (test)" if source.test_path else source.name]
        pairs, lost, _, corpus = read_pairs(source, at, source.test_split or source.split, config.seed)
        retrieval = KINDS[source.kind].scored
        pairs, over = sample(pairs, source.test_limit, config.seed, by="positive_id" if retrieval else "query_id")
        write(source.name, "test", pairs, PAIRS)
        account(f"{source.name} (test)", lost + Counter({"over test_limit": over}))
        protected.add(source.name, (p["query"] for p in pairs))
        if retrieval:
            passages = sample_corpus(corpus, pairs, source.test_limit, config.seed)
            write(f"{source.name}-corpus", "test", passages, CORPUS)
            protected.add(source.name, (p["text"] for p in passages))
        elif source.kind != "classification":
            protected.add(source.name, (p["positive"] for p in pairs))
    for test_set in config.test_sets if config.decontaminate else []:
        at = stage.parents[f"test set {test_set['path']}"]
        split = test_set.get("split", "test")
        protected.add(test_set["path"], all_texts(load_rows("test_sets", at, test_set.get("config"), split)))

    # ---- training rows -----------------------------------------------------------------------------------------------
    for source in tqdm(sources, desc="Training rows", unit="task"):
        pairs, lost, steps[source.name], corpus = read_pairs(source, stage.parents[source.name], source.split, config.seed)
        if config.decontaminate:
            pairs, seen = drop_protected(pairs, source.kind, protected)
            corpus = {i: text for i, text in corpus.items() if not protected.owner(text)}
            lost += seen
        pairs, over = sample(pairs, source.limit, config.seed)
        write(source.name, "train", pairs, PAIRS)
        account(source.name, lost + Counter({"over limit": over}))
        if KINDS[source.kind].scored:
            passages = sample_corpus(corpus, pairs, source.corpus_limit, config.seed)
            write(f"{source.name}-corpus", "train", passages, CORPUS)

    # ---- manifest and card -------------------------------------------------------------------------------------------
    tasks = {s.name: {k: v for k, v in asdict(s).items() if k in ("kind", "instruction", "path", "split", "licence",
                                                                  "mteb_tasks", "notes")} for s in sources}
    manifest = stage.manifest(rows, dropped, columns=columns, files=data_files(rows), tasks=tasks, steps=steps)
    render(work, manifest)
    stage.finish(manifest)


if __name__ == "__main__":
    with one_sentence():
        main(*parse(ConvertConfig))
