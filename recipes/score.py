"""Pairs to teacher scores: BM25 and dense retrieval propose candidates, a cross-encoder scores them, RRF fuses.

    accelerate launch --config_file recipes/accelerate/gpu8.yaml -m recipes.score --config recipes/own_data/score.yaml
    python -m recipes.score --config recipes/quickstart/score.yaml --mirror artifacts/mirror        # a laptop, 2 min

Reads      pairs, a SentenceTransformer, a CrossEncoder
Publishes  scores (dataset): one config per retrieval task; every query with its candidates and all four scores
"""

from pathlib import Path

from recipes.publish import pushed

from anna_embed.artifacts import Stage
from anna_embed.config import ScoreConfig
from anna_embed.fetch import go_offline
from anna_embed.located import locate
from anna_embed.parsing import one_sentence, parse


def plan(config: ScoreConfig, given: dict) -> Stage:
    parents = {"pairs": locate("pairs", config.input("pairs"), "dataset", config.mirror),
               "dense_model": locate("dense_model", config.dense_model, "model", config.mirror),
               "reranker": locate("reranker", config.input("reranker"), "model", config.mirror)}
    return Stage("score", f"{config.artifacts}/scores", given, parents)


def main(config: ScoreConfig, given: dict) -> None:
    from anna_embed.teacher.shards import Processes

    if config.mirror:
        go_offline()
    stage = plan(config, given)
    processes = Processes(stage.work / ".failed")
    with processes.state.main_process_first():  # it may wait for another run that is making the artifact
        current = stage.is_current
    if current:
        return print(f"score: {stage.output} is up to date")

    from anna_embed.hub.cards import render
    from anna_embed.kinds import KINDS
    from anna_embed.precision import note_if_slow
    from anna_embed.schema import CORPUS, PAIRS, SCORES
    from anna_embed.tables import columns_of, data_files, read_split, tasks_of
    from anna_embed.teacher import dense, reranker
    from anna_embed.teacher.bm25 import kept_index
    from anna_embed.teacher.candidates import Teacher, group_queries, require_memory, with_places
    from anna_embed.teacher.corpus import Corpus
    from anna_embed.teacher.nearest import search
    from anna_embed.teacher.vectors import VectorStore, text_keys

    # ---- read: both models, in every process ------------------------------------------------------------------------
    with processes.state.main_process_first():
        work = stage.begin()
        if processes.state.is_main_process:
            note_if_slow(config.dtype, str(processes.state.device), "--dtype float32")
    pairs, cache, model = stage.parents["pairs"].path, Path(config.artifacts) / ".cache", stage.parents["dense_model"]
    tasks = {name: t for name, t in tasks_of("pairs", pairs).items() if KINDS[t["kind"]].scored}
    with processes.together():
        device = str(processes.state.device)
        cross_encoder = dense.aligned(
            reranker.load(stage.parents["reranker"].path, config.max_length, config.dtype, device))
        dense_model = dense.load(model.path, config.dtype, device)
    prompts = config.dense_document_prompt, config.dense_query_prompt
    # Equal prompts share a store: two would not know of each other what they have embedded.
    stores = {prompt: VectorStore(cache / "vectors", model.digest, str(dense_model.dtype), prompt)
              for prompt in prompts}
    documents, questions = (stores[prompt] for prompt in prompts)

    # ---- score: each step in shards that the processes share; a kill loses one of each at most ----------------------
    rows, statistics = {}, {}
    for task in tasks:
        with processes.together():
            corpus = Corpus(read_split("pairs", pairs, f"{task}-corpus", "train", CORPUS))
            known = read_split("pairs", pairs, task, "train", PAIRS)
            known = known.select_columns(["query_id", "query", "positive_id"]).to_list()
            queries = with_places(group_queries(known), corpus)
            require_memory(config, corpus)
        bm25 = kept_index(cache / "bm25", corpus, config, processes, f"Indexing {task}")
        passages = dense.embed(documents, corpus.keys, corpus.texts, dense_model, config.batch_size, processes,
                               f"Embedding passages of {task}")
        texts = [query["query"] for query in queries]
        vectors = dense.embed(questions, text_keys(texts), lambda places: [texts[p] for p in places], dense_model,
                              config.batch_size, processes, f"Embedding queries of {task}")
        nearest = search(vectors, passages, config.depth, config.memory_gb, work / ".search" / task, processes,
                         f"Searching {task}")
        teacher = Teacher(corpus, bm25, passages, cross_encoder, config)
        written, counts = processes.write_rows(
            work, task, len(queries), config.shard_size,
            lambda part: teacher.score(queries[part], vectors[part], nearest[part]), SCORES,
            f"Scoring {task}", "query")
        rows[task], statistics[task] = {"train": written}, {"passages": len(corpus), **counts}

    # ---- manifest and card ------------------------------------------------------------------------------------------
    if processes.state.is_main_process:
        columns = {task: columns_of(SCORES) for task in tasks}
        manifest = stage.manifest(rows, columns=columns, files=data_files(rows), tasks=tasks, statistics=statistics)
        render(work, manifest)
        stage.finish(manifest)
    processes.state.wait_for_everyone()


if __name__ == "__main__":
    with one_sentence():
        config, given = parse(ScoreConfig)
        with pushed(config, "scores"):
            main(config, given)
