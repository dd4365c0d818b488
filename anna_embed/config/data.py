"""What the YAML of the data and teacher stages may say."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from anna_embed.config.base import StageConfig, described
from anna_embed.parsing import RecipeError, check_type

STEMMERS = ("none", "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french",
            "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali",
            "norwegian", "porter", "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish")
STOP_WORDS = ("none", "chinese", "danish", "dutch", "english", "english_plus", "french", "german", "italian", "korean",
              "norwegian", "portuguese", "russian", "spanish", "swedish", "turkish")


@dataclass
class ConvertConfig(StageConfig):
    """Sources to pairs.

    Args:
        tasks (`list[dict]`): Each a name of the sources table with what differs (`{name: BoolQ, limit: 900}`), or a
            source of your own (`name, kind, instruction, path, columns`).
        decontaminate (`bool`): Drop every training row whose text occurs in a test set named here. Those that occur
            in held-out rows are dropped in any case.
        test_sets (`list[dict]`): Further evaluation sets to audit against: `{path, config, split}`.
    """

    tasks: list[dict[str, Any]] = field(default_factory=list, **described("The sources, by name or described."))
    decontaminate: bool = field(default=True, **described("Drop training rows whose text occurs in a test set."))
    test_sets: list[dict[str, Any]] = field(default_factory=list, **described("Evaluation sets to audit against."))
    seed: int = field(default=42, **described("Draws negatives of labelled tasks, and samples by limit."))

    def __post_init__(self):
        super().__post_init__()
        self.require("tasks", len(self.tasks) > 0, "name at least one task, for example [{name: BoolQ}]")
        for name in (task.get("name") for task in self.tasks):
            if isinstance(name, str) and name in vars(self):  # an artifact's key holds tasks beside the recipe's keys
                raise RecipeError(f"tasks: {name}: name: it is a key of the recipe; call the task otherwise.")
        for test_set in self.test_sets:
            check_type("test_sets", test_set, dict[str, str])
            if set(test_set) - {"path", "config", "split", "revision"} or "path" not in test_set:
                raise RecipeError(f"test_sets: {test_set!r} needs 'path' and may have 'config', 'split', 'revision'.")


@dataclass
class RerankerConfig(StageConfig):
    """Trains the teacher's cross-encoder on the pairs of the retrieval tasks.

    Args:
        base_model (`str`): The encoder to start from.
        dense_model (`str`): Finds the hard negatives and gives the soft targets.
        target_temperature (`float`): Targets are `softmax(cosine / target_temperature + lexical_weight * BM25 /
            (the query's highest BM25) + gold_bonus * is_positive)`.
        lexical_weight (`float`): Above 0 BM25's best, with its default parameters, are among the candidates too.
    """

    base_model: str | None = field(default=None, **described("Encoder to start from, a folder or Hub id."))
    dense_model: str | None = field(default=None, **described("SentenceTransformer that labels and finds negatives."))
    dense_query_prompt: str = field(default="", **described("In front of queries for the dense model."))
    dense_document_prompt: str = field(default="", **described("In front of passages for the dense model."))
    pairs: str | None = field(default=None, **described("Folder or Hub id of the pairs."))
    list_size: int = field(default=8, **described("Candidates per query: one positive, the rest hard negatives."))
    hard_from: int = field(default=20, **described("Draw the negatives from this many of the dense retriever's best."))
    target_temperature: float = field(default=0.07, **described("Divides the dense cosine in the targets."))
    lexical_weight: float = field(default=0.0, **described("Of BM25 in the targets; 0 leaves BM25 out."))
    gold_bonus: float = field(default=2.0, **described("Added to the positive's target logit."))
    max_length: int = field(default=128, **described("Tokens of query and passage together."))
    batch_size: int = field(default=16, **described("Queries per step."))
    epochs: float = field(default=1.0, **described("Passes over the queries."))
    reranker_learning_rate: float = field(default=2e-4, **described("Peak learning rate."))
    max_queries: int | None = field(default=None, **described("Train on this many queries of each task at most."))
    dtype: Literal["float32", "bfloat16"] = field(default="float32", **described(
        "Type of the dense model's weights, and of autocast."))
    seed: int = field(default=42, **described("Order of the queries and the head's initial weights."))

    def __post_init__(self):
        super().__post_init__()
        self.require("base_model", self.base_model is not None, "name an encoder, a folder or a Hub id")
        self.require("dense_model", self.dense_model is not None, "name a SentenceTransformer, a folder or a Hub id")
        self.require("list_size", self.list_size >= 2, "a list needs a positive and a negative: write 2 or more")
        for key in ("hard_from", "batch_size"):
            self.require(key, getattr(self, key) >= 1, "write 1 or more")
        self.require("max_queries", self.max_queries is None or self.max_queries >= 1, "write 1 or more")
        self.require("epochs", 0 < self.epochs < math.inf, "write a positive number, for example 1.0")
        self.require("max_length", self.max_length >= 8, "write 8 or more tokens")
        self.require("target_temperature", 0 < self.target_temperature < math.inf,
                     "write a positive number, for example 0.07")
        self.require("lexical_weight", 0 <= self.lexical_weight < math.inf, "write 0 or more, for example 3.0")
        self.require("gold_bonus", math.isfinite(self.gold_bonus), "write a number, for example 2.0")
        self.require("reranker_learning_rate", 0 < self.reranker_learning_rate < math.inf,
                     "write a positive number, for example 2.0e-4")


@dataclass
class ScoreConfig(StageConfig):
    """Teacher scores of candidate passages.

    Args:
        depth (`int`): Candidates that BM25 and the dense retriever propose each; their union is scored by all three.
        bm25_k1, bm25_b (`float`): BM25's parameters; 1.5 and 0.75 are bm25s's defaults (the report names none).
        bm25_stemmer, bm25_stop_words (`str`): Languages that Snowball and bm25s know, or `none`.
        rrf_k (`int`): The constant of reciprocal rank fusion; 60 as in the report.
        token_budget (`int`): Tokens of a batch of the cross-encoder, padding included.
        memory_gb (`float`): Of each process, beside its models: bounds the blocks of the dense search; shards that
            would need more are refused.
    """

    dense_model: str | None = field(default=None, **described("SentenceTransformer, a folder or Hub id."))
    dense_query_prompt: str = field(default="", **described("Put in front of queries for the dense model."))
    dense_document_prompt: str = field(default="", **described("Put in front of passages for the dense model."))
    reranker: str | None = field(default=None, **described("Cross-encoder, a folder or Hub id."))
    pairs: str | None = field(default=None, **described("Folder or Hub id of the pairs."))
    depth: int = field(default=50, **described("Candidates per first-stage retriever."))
    bm25_k1: float = field(default=1.5, **described("BM25 k1."))
    bm25_b: float = field(default=0.75, **described("BM25 b."))
    bm25_stemmer: str = field(default="english", **described("Language of the Snowball stemmer, or none."))
    bm25_stop_words: str = field(default="english", **described("Language of the stop words, or none."))
    rrf_k: int = field(default=60, **described("Constant of reciprocal rank fusion."))
    max_length: int = field(default=512, **described("Tokens of query and passage together in the cross-encoder."))
    batch_size: int = field(default=64, **described("Texts per forward pass of the dense model."))
    token_budget: int = field(default=16384, **described("Tokens per forward pass of the cross-encoder."))
    dtype: Literal["float32", "bfloat16"] = field(default="float32", **described("Weights of both models."))
    shard_size: int = field(default=256, **described("Queries per shard; a kill loses one shard at most."))
    memory_gb: float = field(default=4.0, **described("Memory of each process, beside the models."))

    def __post_init__(self):
        super().__post_init__()
        self.require("dense_model", self.dense_model is not None, "name a SentenceTransformer, a folder or a Hub id")
        self.require("depth", self.depth >= 1, "write 1 or more")
        self.require("bm25_k1", 0 <= self.bm25_k1 < math.inf, "write 0 or more, for example 1.5")
        self.require("bm25_b", 0 <= self.bm25_b <= 1, "write a number from 0 to 1")
        self.require("bm25_stemmer", self.bm25_stemmer in STEMMERS, f"write one of {', '.join(STEMMERS)}")
        self.require("bm25_stop_words", self.bm25_stop_words in STOP_WORDS, f"write one of {', '.join(STOP_WORDS)}")
        self.require("rrf_k", self.rrf_k >= 1, "write 1 or more; the report uses 60")
        self.require("max_length", self.max_length >= 8, "write 8 or more tokens")
        self.require("batch_size", self.batch_size >= 1, "write 1 or more texts")
        self.require("token_budget", self.token_budget >= 1, "write a number of tokens, for example 16384")
        self.require("shard_size", self.shard_size >= 1, "write 1 or more queries")
        self.require("memory_gb", 0.1 <= self.memory_gb < math.inf, "write 0.1 or more gigabytes")


@dataclass
class MineConfig(StageConfig):
    """Hard negatives by TopK-PercPos (NV-Retriever, arXiv 2407.15831).

    Args:
        margin (`float`): A candidate above `pos - |pos| * (1 - margin)` is dropped as a likely false negative.
        threshold_from (`str`): Which positive `pos` is: the lowest-scored of the query (`min`), or the row's `own`.
        score_source (`str`): The scores the margin applies to.
        top_k (`int`): Negatives are drawn from the best `top_k` left.
    """

    scores: str | None = field(default=None, **described("Folder or Hub id of the scores."))
    pairs: str | None = field(default=None, **described("Folder or Hub id of the pairs."))
    num_negatives: int = field(default=7, **described("Hard negatives per row."))
    margin: float = field(default=0.95, **described("Share of the positive's score that a negative may reach."))
    threshold_from: Literal["min", "own"] = field(default="min", **described("Which positive sets the threshold."))
    score_source: Literal["dense", "reranker"] = field(default="dense", **described("Scores the margin applies to."))
    top_k: int = field(default=50, **described("Draw from the best top_k candidates left."))
    seed: int = field(default=42, **described("Draws the negatives, together with query and positive."))
    shard_size: int = field(default=2048, **described("Rows per shard; a kill loses one shard at most."))

    def __post_init__(self):
        super().__post_init__()
        self.require("num_negatives", self.num_negatives >= 0, "write 0 or more; the report uses 7")
        self.require("margin", 0 < self.margin <= 1, "write a share in (0, 1]; the report uses 0.95")
        self.require("top_k", self.top_k >= 1, "write 1 or more")
        self.require("shard_size", self.shard_size >= 1, "write 1 or more rows")
