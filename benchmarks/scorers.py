"""The teacher's four scorers on held-out queries: nDCG@10 and recall@50 of BM25, dense, their RRF, and the reranker.

    python -m recipes.convert --config benchmarks/scorers.yaml --mirror mirror --mirror artifacts/mirror
    python -m benchmarks.scorers --reranker artifacts/smollm2_135m/reranker --mirror artifacts/mirror

The reranker orders the RRF's first 5 (10); the rest keep their places. The last line is all of it as JSON.
"""

from dataclasses import dataclass, field

from anna_embed.config.base import described
from anna_embed.parsing import RecipeError, check_type, one_sentence, parse


@dataclass
class Settings:
    """What scores what.

    Args:
        depths (`list[int]`): How many of the RRF's first the reranker orders.
        queries (`int`): Of each task at most, the first by their ids.
    """

    pairs: str = field(default="artifacts/scorers/pairs", **described("Folder of pairs with test splits."))
    dense_model: str = field(default="sentence-transformers/all-MiniLM-L6-v2", **described("Folder or Hub id."))
    reranker: str = field(default="artifacts/quickstart/reranker", **described("Folder or Hub id."))
    mirror: list[str] = field(default_factory=list, **described("Folders in Hub layout."))
    depths: list[int] = field(default_factory=lambda: [5, 10], **described("Of the reranker."))
    queries: int = field(default=300, **described("Of each task at most."))
    max_length: int = field(default=128, **described("Tokens of a text, and of a pair twice as many."))
    batch_size: int = field(default=32, **described("Texts per forward pass."))
    dtype: str = field(default="bfloat16", **described("Of the weights."))

    def __post_init__(self):
        check_type("mirror", self.mirror, list[str])
        check_type("depths", self.depths, list[int])
        for key, least in (("queries", self.queries), ("depths", min(self.depths, default=0))):
            if least < 1:
                raise RecipeError(f"{key}: {getattr(self, key)} is not possible; write 1 or more.")


def recall(ranked, relevant: list[set[int]]) -> float:
    """Mean share of a query's right passages that are among the ranked ones, (queries, k)."""
    found = [len(right.intersection(row.tolist())) / len(right) for row, right in zip(ranked, relevant)]
    return sum(found) / len(found)


def measure(config: Settings, task, encode, cross_encoder) -> dict:
    """Both metrics of each scorer on one task."""
    import numpy as np

    from anna_embed.evaluation.metrics import best, ndcg_at_10
    from anna_embed.teacher import reranker
    from anna_embed.teacher.bm25 import BM25
    from anna_embed.teacher.fusion import rrf

    queries = list(task.queries.values())[:config.queries]
    relevant = task.relevant[:len(queries)]
    bm25 = BM25(task.passages)
    lexical = np.stack([bm25.scores(query) for query in queries])
    dense = encode(queries, "") @ encode(task.passages, "").T
    fused = np.stack([rrf([left, right], task.ids) for left, right in zip(lexical, dense, strict=True)])
    ranked = {"BM25": best(lexical, 50), "dense": best(dense, 50), "RRF": (order := best(fused, 50))}
    first = order[:, :max(config.depths)]
    pairs = [(query, task.passages[p]) for query, row in zip(queries, first) for p in row]
    logits = reranker.score(cross_encoder, pairs, config.batch_size, True).reshape(first.shape)
    for depth in config.depths:
        reordered = np.take_along_axis(first[:, :depth], best(logits[:, :depth], depth), 1)
        ranked[f"reranker, {depth}"] = np.concatenate([reordered, order[:, depth:]], 1)
    facts = {"queries": len(queries), "passages": len(task.passages)}
    for name, rows in ranked.items():
        facts[name] = {"ndcg_at_10": round(float(ndcg_at_10(rows, relevant)), 4),
                       "recall_at_50": round(recall(rows, relevant), 4)}
    return facts


def main(config: Settings, given: dict) -> None:
    from anna_embed.artifacts import read_manifest
    from anna_embed.evaluation.heldout import read_held_out
    from anna_embed.fetch import go_offline
    from anna_embed.kinds import KINDS
    from anna_embed.located import locate
    from anna_embed.model.encode import load_encoder
    from anna_embed.tables import tasks_of
    from anna_embed.teacher import reranker
    from benchmarks import timing

    if config.mirror:
        go_offline()
    encode = load_encoder(locate("dense_model", config.dense_model, "model", config.mirror).path, config.max_length,
                          config.batch_size, config.dtype)
    cross_encoder = reranker.load(locate("reranker", config.reranker, "model", config.mirror).path,
                                  2 * config.max_length, config.dtype)
    held_out = read_held_out(config.pairs, tasks_of("pairs", config.pairs), read_manifest(config.pairs)["rows"])
    facts = {}
    for task in held_out:
        if KINDS[task.kind].scored:
            facts[task.name] = measure(config, task, encode, cross_encoder)
            print(f"{task.name}: {facts[task.name]}", flush=True)
    if not facts:
        raise RecipeError(f"pairs: '{config.pairs}' has no retrieval task with a test split; see "
                          "benchmarks/scorers.yaml.")
    scorers = [name for name, said in next(iter(facts.values())).items() if isinstance(said, dict)]
    means = {name: {metric: round(sum(said[name][metric] for said in facts.values()) / len(facts), 4)
                    for metric in ("ndcg_at_10", "recall_at_50")} for name in scorers}
    print(f"mean: {means}")
    timing.report({"benchmark": "scorers", "given": given, "results": facts, "mean": means})


if __name__ == "__main__":
    with one_sentence():
        main(*parse(Settings))
