"""Pairs to teacher scores: BM25 and dense retrieval propose candidates, a cross-encoder scores them, RRF fuses.

    python -m recipes.score --config recipes/own_data/score.yaml
    python -m recipes.score --config recipes/quickstart/score.yaml --mirror artifacts/mirror        # a laptop, 2 min

Reads      pairs, a SentenceTransformer, a CrossEncoder
Publishes  scores (dataset): one config per retrieval task; every query with its candidates and all four scores
"""

from collections import defaultdict
from pathlib import Path

from anna_embed.artifacts import Stage, go_offline, locate
from anna_embed.config import ScoreConfig
from anna_embed.parsing import one_sentence, parse


def plan(config: ScoreConfig, given: dict) -> Stage:
    parents = {"pairs": locate("pairs", config.input("pairs"), "dataset", config.mirror),
               "dense_model": locate("dense_model", config.dense_model, "model", config.mirror),
               "reranker": locate("reranker", config.input("reranker"), "model", config.mirror)}
    return Stage("score", f"{config.artifacts}/scores", given, parents)


def main(config: ScoreConfig, given: dict) -> None:
    if config.mirror:
        go_offline()
    stage = plan(config, given)
    if stage.is_current:
        return print(f"score: {stage.output} is up to date")

    from datasets import load_dataset
    from tqdm import tqdm

    from anna_embed.hub.cards import render
    from anna_embed.kinds import KINDS
    from anna_embed.schema import CORPUS, PAIRS, SCORES
    from anna_embed.tables import columns_of, data_files, read_split, tasks_of, write_split
    from anna_embed.teacher import dense, reranker
    from anna_embed.teacher.bm25 import BM25
    from anna_embed.teacher.candidates import Teacher, group_queries

    # ---- read -------------------------------------------------------------------------------------------------------
    work, pairs = stage.begin(), stage.parents["pairs"].path
    tasks = {name: t for name, t in tasks_of("pairs", pairs).items() if KINDS[t["kind"]].scored}
    dense_model = dense.load(stage.parents["dense_model"].path, config.dtype)
    cross_encoder = reranker.load(stage.parents["reranker"].path, config.max_length, config.dtype)
    cache = Path(config.artifacts) / ".cache" / "vectors"
    rows = defaultdict(dict)

    # ---- score, a shard at a time: a kill loses one shard at most ---------------------------------------------------
    for task in tasks:
        queries = group_queries(read_split("pairs", pairs, task, "train", PAIRS).to_list())
        corpus = read_split("pairs", pairs, f"{task}-corpus", "train", CORPUS)
        texts = corpus["text"][:]
        vectors = dense.encode_cached(cache, stage.parents["dense_model"].digest, dense_model, texts,
                                      config.dense_document_prompt, config.batch_size)
        teacher = Teacher(corpus["id"][:], texts, BM25(texts, config.bm25_k1, config.bm25_b), vectors, dense_model,
                          cross_encoder, config)
        shards = []
        with tqdm(total=len(queries), desc=f"Scoring {task}", unit="query") as bar:
            for number, first in enumerate(range(0, len(queries), config.shard_size)):
                shard = queries[first: first + config.shard_size]
                name = f".shards/{task}"
                path = work / name / f"{number:05d}-00000-of-00001.parquet"
                if not path.is_file():
                    write_split(work, name, f"{number:05d}", teacher.score(shard), SCORES)
                shards.append(str(path))
                bar.update(len(shard))
        scored = load_dataset("parquet", data_files=shards, split="train")
        rows[task]["train"] = write_split(work, task, "train", scored.to_list(), SCORES)

    # ---- manifest and card ------------------------------------------------------------------------------------------
    columns = {task: columns_of(SCORES) for task in tasks}
    manifest = stage.manifest(rows, columns=columns, files=data_files(rows), tasks=tasks)
    render(work, manifest)
    stage.finish(manifest)


if __name__ == "__main__":
    with one_sentence():
        main(*parse(ScoreConfig))
