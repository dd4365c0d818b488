"""What the training benchmarks train on: real pairs as rows of the triplets artifact, and as strings for the peers."""

import random
from dataclasses import dataclass
from unittest.mock import patch

import yaml

from anna_embed.config import TrainConfig
from anna_embed.kinds import KINDS
from anna_embed.parsing import RecipeError
from anna_embed.training import examples
from anna_embed.training.batch import Batch
from anna_embed.training.steps import Steps

POOL = 50  # BM25 candidates that negatives are drawn from, as many as mining draws from by default
SEED = 42


@dataclass(frozen=True)
class Workload:
    """
    One global batch, again and again.

    Attributes:
        name (`str`): what the figures stand under.
        task (`dict`): kind and instruction.
        rows (`list[dict]`): as many rows of the triplets artifact as the batch has queries.
        config (`TrainConfig`): batch size, lengths and examples.
    """

    name: str
    task: dict
    rows: list[dict]
    config: TrainConfig


def make(name: str, recipe: str, mirror: list[str], task: str, queries: int, at_most: bool = False,
         **keys) -> Workload:
    """
    Real pairs of a task of a convert recipe; retrieval tasks get hard negatives by BM25 over all of the passages.

    Args:
        name (`str`): of the workload.
        recipe (`str`): the YAML file of a convert stage that lists the task.
        mirror (`list[str]`): folders in Hub layout; none to read from the Hub.
        task (`str`): of the recipe.
        queries (`int`): how many; each occurs once.
        at_most (`bool`, *optional*, defaults to `False`): take what there is where the task has fewer.
        **keys: of [`TrainConfig`]; `num_negatives` and `max_examples` among them.

    Raises:
        [`RecipeError`]: there is no such task, or it has too few queries.
    """
    from anna_embed.data.locate import locate_source
    from anna_embed.data.pairs import read_pairs, sample
    from anna_embed.data.tasks import read_tasks

    with open(recipe, encoding="utf-8") as lines:
        listed = {t["name"]: t for t in yaml.safe_load(lines)["tasks"]}
    if task not in listed:
        raise RecipeError(f"{name}: '{recipe}' has no task '{task}'; it has {', '.join(listed)}.")
    (source,) = read_tasks([listed[task]])
    pairs, corpus, _, _ = read_pairs(source, locate_source(source, mirror)[task], source.split, SEED)
    chosen = list({p["query_id"]: p for p in sample(pairs, queries, SEED)[0]}.values())
    if len(chosen) < queries and not at_most:
        raise RecipeError(f"{name}: {queries} queries are asked for, but '{task}' has {len(chosen)}; ask for fewer, "
                          "or name a larger task.")
    positives = {p["query_id"]: set() for p in chosen}
    for pair in pairs:
        positives.get(pair["query_id"], set()).add(pair["positive_id"])
    hard = _by_bm25(chosen, positives, corpus, keys["num_negatives"]) if KINDS[source.kind].scored else {}
    rows = [_triplet(p, hard.get(p["query_id"], {}), positives[p["query_id"]]) for p in chosen]
    config = TrainConfig(artifacts="unused", retrieval_batch_size=queries, other_batch_size=queries,
                         soft_label_weight=0.0, example_group_size=min(32, max(1, len(rows) // 2)), **keys)
    return Workload(name, {"kind": source.kind, "instruction": source.instruction}, rows, config)


def _by_bm25(pairs, positives, corpus, number) -> dict[str, dict[str, str]]:
    """For each query some of its best passages that are no positives of it, drawn as mining draws them."""
    from anna_embed.teacher.bm25 import BM25

    if not number:
        return {}
    ids = sorted(corpus)
    found = BM25([corpus[i] for i in ids]).top_k([p["query"] for p in pairs], POOL)
    drawn = {}
    for pair, places in zip(pairs, found):
        query = pair["query_id"]
        pool = [ids[n] for n in places if ids[n] not in positives[query]]
        pool += [] if len(pool) >= number else [i for i in ids if i not in positives[query] and i not in pool]
        pool = pool[:max(POOL, number)]
        drawn[query] = {i: corpus[i] for i in random.Random(f"{SEED}:{query}").sample(pool, min(number, len(pool)))}
    return drawn


def _triplet(pair, negatives, positives):
    return {key: pair[key] for key in ("query_id", "query", "positive_id", "positive", "label", "label_score", "task")
            } | {"negative_ids": list(negatives), "negatives": list(negatives.values()),
                 "sibling_positive_ids": sorted(positives - {pair["positive_id"]}),
                 **{f"teacher_{name}": [] for name in ("bm25", "dense", "reranker", "rrf")}}


class FullSteps(Steps):
    """The steps of training, with as many examples as there may be, where training draws from none to that many."""

    def build(self, step):
        with patch.object(examples, "draw", _draw_most):
            return super().build(step)


def _draw_most(rows, group, most, rng, *how, draw=examples.draw):
    return draw(rows, group, most, _Most(rng.random()), *how)


class _Most(random.Random):
    def randint(self, a, b):
        return b


def as_strings(batch: Batch, tokenizer) -> tuple[list[str], list[list[str]]]:
    """
    The batch as other libraries take it: the very strings that ours encodes, repeated wherever they occur.

    Args:
        batch ([`~anna_embed.training.batch.Batch`]): with equally many passages for each query.
        tokenizer: that made the batch's tokens.

    Returns:
        `tuple`: the queries, and the passages of each, its positive first.
    """
    ends = tokenizer.num_special_tokens_to_add()  # EOS, and BOS in front where the model has one
    front = ends - 1
    strings = [tokenizer.decode(tokens[front: len(tokens) - 1], clean_up_tokenization_spaces=False)
               for tokens in batch.tokens]
    width = int(batch.present.sum(1).min())
    passages = batch.passages[batch.group[:, :width]]
    return [strings[i] for i in batch.query.tolist()], [[strings[i] for i in own] for own in passages.tolist()]
