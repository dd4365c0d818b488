"""Hard negatives of the same pairs by the stages of this repository and by sentence-transformers, each run measured.

Each function is called in a process of its own (`timing.in_fresh_process`) and returns its figures: seconds, processor
seconds, the memory it held when all was imported and loaded, and the most it ever held.
"""

import json
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.titles import TASK


def measured(work: Callable, start_gb: float) -> dict[str, float]:
    """Runs the work: time and memory. `parts`, if the work returns any, are the seconds of its steps."""
    from benchmarks import timing

    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    parts = work()
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds, "parts": parts or {}, "start_gb": start_gb,
            "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "peak_gb": timing.peak_bytes() / 1e9}


def loaded(model_folder: str, max_length: int):
    """The dense model, and the gigabytes that the process holds with it."""
    from anna_embed.teacher import dense

    model = dense.load(model_folder, "float32", "cpu")
    model.max_seq_length = max_length
    model.encode(["warm up"])
    return model, held_gb()


def held_gb() -> float:
    """What the process holds now, on Linux."""
    with open("/proc/self/statm", encoding="ascii") as numbers:
        return int(numbers.read().split()[1]) * resource.getpagesize() / 1e9


def vectors_name(model_folder: str, config) -> str:
    """What the vectors are kept under."""
    from anna_embed.digests import digest

    return f"{digest(Path(model_folder))} {config.max_length}"


# ---- ours -----------------------------------------------------------------------------------------------------------
def ours(folder: str, model_folder: str, config, embed: bool) -> dict[str, float]:
    """
    What the stages score and mine do, but for BM25 and the reranker: both artifacts are written and read.

    Args:
        folder (`str`): pairs and corpus (`titles.write`), and the vectors of all texts unless they are to be embedded.
        model_folder (`str`): the dense model.
        config (`Settings`): depth, num_negatives, max_length, memory_gb.
        embed (`bool`): whether the texts are embedded, too.
    """
    from anna_embed.schema import CORPUS, PAIRS, SCORES, TRIPLETS
    from anna_embed.tables import read_split
    from anna_embed.teacher import dense
    from anna_embed.teacher.candidates import group_queries, with_places
    from anna_embed.teacher.corpus import Corpus
    from anna_embed.teacher.mine import FromScores, Rule
    from anna_embed.teacher.nearest import search
    from anna_embed.teacher.shards import Processes
    from anna_embed.teacher.vectors import VectorStore, text_keys

    model, start_gb = loaded(model_folder, config.max_length)
    work, name = Path(folder, "ours"), vectors_name(model_folder, config)
    shutil.rmtree(work, ignore_errors=True)
    processes, steps = Processes(work / ".failed"), [time.perf_counter()]

    def run():
        steps[0] = time.perf_counter()
        corpus = Corpus(read_split("pairs", folder, f"{TASK}-corpus", "train", CORPUS))
        pairs = read_split("pairs", folder, TASK, "train", PAIRS)
        queries = with_places(group_queries(
            pairs.select_columns(["query_id", "query", "positive_id"]).to_list()), corpus)
        store = VectorStore(work if embed else Path(folder).parent / "vectors", name, str(model.dtype), "")
        passages = dense.embed(store, corpus.keys, corpus.texts, model, 64, processes)
        texts = [query["query"] for query in queries]
        vectors = dense.embed(store, text_keys(texts), lambda places: [texts[p] for p in places], model, 64, processes)
        steps.append(time.perf_counter())
        nearest = search(vectors, passages, config.depth, config.memory_gb, work / ".search", processes)
        steps.append(time.perf_counter())
        scorer = dense_teacher(corpus, passages, config)
        processes.write_rows(work, "scores", len(queries), 256,
                             lambda part: scorer.score(queries[part], vectors[part], nearest[part]), SCORES,
                             "Scoring", "query")
        steps.append(time.perf_counter())
        rule = Rule(num_negatives=config.num_negatives, top_k=config.num_negatives)
        miner = FromScores(read_split("scores", str(work), "scores", "train", SCORES), rule)
        processes.write_rows(work, "triplets", len(pairs), 2048,
                             lambda part: miner.rows(pairs.select(range(part.start, part.stop)).to_list()), TRIPLETS,
                             "Mining", "row")
        steps.append(time.perf_counter())
        parts = ("read and embed", "search", "write scores", "mine")
        return {part: end - begin for part, begin, end in zip(parts, steps, steps[1:])}

    figures = measured(run, start_gb)
    mined = read_split("triplets", str(work), "triplets", "train", TRIPLETS)
    found = {json.dumps([row["query"], row["positive"]]): row["negatives"] for row in mined}
    Path(folder, "ours.json").write_text(json.dumps(found), encoding="utf-8")
    return figures


def dense_teacher(corpus, passages, config):
    """The teacher with one scorer: its scores stand in the columns of the others, so that rows are as large."""
    from collections import Counter
    from types import SimpleNamespace

    import numpy as np

    from anna_embed.teacher.candidates import Teacher

    class DenseTeacher(Teacher):
        def score(self, queries, vectors, nearest):
            unions = [np.unique(np.concatenate([near, q["places"]])) for q, near in zip(queries, nearest, strict=True)]
            texts, scores = self.corpus.text_column(np.concatenate(unions)), self.similarities(vectors, unions)
            return self.table(queries, unions, texts, {"bm25": scores, "dense": scores, "reranker": scores}), Counter()

    return DenseTeacher(corpus, None, passages, None, SimpleNamespace(rrf_k=60, depth=config.depth))


# ---- theirs ---------------------------------------------------------------------------------------------------------
def theirs(folder: str, model_folder: str, config, embed: bool, block: int) -> dict[str, float]:
    """
    `mine_hard_negatives` with the same candidates, margin and number of negatives.

    Args:
        folder, model_folder, config, embed: as for `ours`; without embedding, the vectors are read as one array.
        block (`int`): its `faiss_batch_size`, the queries whose scores of all passages it holds at a time.
    """
    import numpy as np
    from datasets import load_dataset
    from sentence_transformers.util import mine_hard_negatives

    model, start_gb = loaded(model_folder, config.max_length)
    if not embed:
        model.encode_document = lambda texts, **keys: np.load(f"{folder}/passages.npy")
        model.encode_query = lambda texts, **keys: np.load(f"{folder}/queries.npy")
    mined = []

    def run():
        pairs, corpus = (load_dataset("parquet", data_files=f"{folder}/{name}/*.parquet", split="train")
                         for name in (TASK, f"{TASK}-corpus"))
        pairs = pairs.select_columns(["query", "positive"])
        mined.append(mine_hard_negatives(
            pairs, model, corpus=list(corpus["text"]), relative_margin=0.05, num_negatives=config.num_negatives,
            range_max=config.depth - config.most_positives, faiss_batch_size=block, batch_size=64, verbose=False))

    figures = measured(run, start_gb)
    found = {}
    for row in mined[0]:
        found.setdefault(json.dumps([row["query"], row["positive"]]), []).append(row["negative"])
    Path(folder, "theirs.json").write_text(json.dumps(found), encoding="utf-8")
    return figures


def agreement(folder: str) -> dict[str, float]:
    """How many rows with negatives each has, and in how many of those of either both have the same in one order."""
    one, other = ({row: tuple(found) for row, found in json.loads(Path(folder, f"{name}.json").read_text()).items()
                   if found} for name in ("ours", "theirs"))
    same = sum(one.get(row) == other.get(row) for row in {*one, *other})
    return {"rows_of_ours": len(one), "rows_of_theirs": len(other), "same": same,
            "share_the_same": round(same / max(len({*one, *other}), 1), 5)}
