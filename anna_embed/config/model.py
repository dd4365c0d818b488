"""What the YAML of the export, benchmark and publish stages may say."""

from dataclasses import dataclass, field
from typing import Literal

from anna_embed.config.base import StageConfig, described


@dataclass
class ExportConfig(StageConfig):
    """Adapter and base to a SentenceTransformer that the stock library loads.

    Args:
        average (`list[str]`): Further adapters, say of the steps before; the exported weights are the mean of all.
        max_seq_length (`int`): The model's limit; let it hold the few-shot examples.
        num_examples (`int`): Few-shot examples stored in each task's prompt; drawn from the training rows.
    """

    adapter: str | None = field(default=None, **described("Folder or Hub id of the adapter."))
    average: list[str] = field(default_factory=list, **described("Further adapters, to be averaged with it."))
    triplets: str | None = field(default=None, **described("Folder or Hub id of the triplets (for the examples)."))
    dtype: Literal["float32", "bfloat16"] = field(default="bfloat16", **described("Type of the exported weights."))
    max_seq_length: int = field(default=2048, **described("Tokens of examples, instruction, text and EOS together."))
    num_examples: int = field(default=0, **described("Few-shot examples in each stored prompt."))
    seed: int = field(default=42, **described("Draws the examples."))

    def __post_init__(self):
        super().__post_init__()
        self.require("max_seq_length", self.max_seq_length >= 8, "write 8 or more tokens")
        self.require("num_examples", 0 <= self.num_examples <= 16, "write 0 to 16")


@dataclass
class BenchmarkConfig(StageConfig):
    """Scores of a model on the pairs' held-out rows and on mteb tasks.

    Args:
        model (`str`): An exported model, any SentenceTransformer, or a bare decoder, which is asked as training would
            begin with it (last token, our prompts).
        pairs (`str`): Their test splits are scored. May be absent if mteb tasks are named.
        tasks (`list[str]`), benchmark (`str`): mteb tasks by name, and all of a benchmark.
        panel (`bool`): The mteb tasks whose real data can be had without the Hub; those that no mirror holds are left
            out, and it is said.
        dev_panel (`bool`): Small parts of mteb tasks without test rows, to choose settings by.
        num_examples (`int`): Few-shot examples in the prompts, drawn from the training rows of the pairs; `None` keeps
            the prompts of the model.
        baselines (`bool`): Score BM25, the base model, the dense teacher and the reranker beside the model, on the
            held-out rows.
        rerank_depth (`int`): Candidates per query that the reranker orders.
    """

    model: str | None = field(default=None, **described("Folder or Hub id of the model."))
    pairs: str | None = field(default=None, **described("Folder or Hub id of the pairs, for their test splits."))
    base_model: str | None = field(default=None, **described("The untrained backbone, for comparison."))
    dense_model: str | None = field(default=None, **described("The dense teacher, for comparison."))
    dense_query_prompt: str = field(default="", **described("Put in front of queries for the dense teacher."))
    dense_document_prompt: str = field(default="", **described("Put in front of passages for the dense teacher."))
    reranker: str | None = field(default=None, **described("The cross-encoder teacher, for comparison."))
    baselines: bool = field(default=True, **described("Also score the base model and the teachers."))
    tasks: list[str] = field(default_factory=list, **described("mteb task names."))
    benchmark: str | None = field(default=None, **described("A benchmark of mteb's, for example 'MTEB(eng, v2)'."))
    panel: bool = field(default=False, **described("The mteb tasks whose data can be had without the Hub."))
    dev_panel: bool = field(default=False, **described("Small parts of mteb tasks, without test rows."))
    num_examples: int | None = field(default=None, **described("Few-shot examples in each prompt; 0 for none."))
    rerank_depth: int = field(default=20, **described("Candidates per query for the reranker."))
    rerank_queries: int = field(default=200, **described("Queries per task for the reranker at most."))
    max_length: int = field(default=512, **described("Tokens of a text."))
    batch_size: int = field(default=32, **described("Texts per forward pass."))
    dtype: Literal["float32", "bfloat16"] = field(default="bfloat16", **described("Type of the weights."))
    seed: int = field(default=42, **described("Draws the examples."))

    def __post_init__(self):
        super().__post_init__()
        self.require("num_examples", self.num_examples is None or 0 <= self.num_examples <= 16,
                     "write 0 to 16, or leave it out for the prompts of the model")
        self.require("max_length", self.max_length >= 8, "write 8 or more tokens")
        self.require("batch_size", self.batch_size >= 1, "write 1 or more texts")
        self.require("rerank_depth", self.rerank_depth >= 1, "write 1 or more candidates")
        self.require("rerank_queries", self.rerank_queries >= 1, "write 1 or more queries")

    @property
    def asks_mteb(self) -> bool:
        return bool(self.tasks or self.benchmark or self.panel or self.dev_panel)


@dataclass
class PublishConfig(StageConfig):
    """Uploads artifact folders, each as one private commit with a tag: see [`StageConfig`].

    Args:
        push (`bool`): A stage publishes what it has made: the release's collection grows by it.
    """

    names: list[str] = field(default_factory=list, **described("Artifacts to publish; all of them by default."))
    dry_run: bool = field(default=False, **described("List what would be uploaded; upload nothing."))

    def __post_init__(self):
        super().__post_init__()
        self.require("namespace", bool(self.namespace) or self.dry_run, "name a user or organisation (--namespace me)")
        self.require("mirror", self.dry_run or not self.mirror, "publishing needs the Hub: leave --mirror out")
