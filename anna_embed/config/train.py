"""What the YAML of the training stage may say."""

import math
from dataclasses import dataclass, field
from typing import Literal

from anna_embed.config.base import StageConfig, described
from anna_embed.parsing import RecipeError


@dataclass
class TrainConfig(StageConfig):
    """Our own keys of the training recipe; the others are those of `transformers.TrainingArguments` and
    `trl.ModelConfig`.

    Args:
        retrieval_batch_size, other_batch_size (`int`): The **global** batch in queries, whatever the number of
            processes; 512 and 256 at 7B. The token budget alone splits it.
        temperature (`float`): Of the student's similarities (0.02 in bge-en-icl).
        teacher (`str`): Which teacher scores are the soft labels.
        teacher_temperature (`float`): Divides them before the softmax: 1 for reranker logits, about 0.05 for cosines,
            0.001 for RRF (at 1 its targets are uniform).
        guide (`str`): A frozen embedder. Its cosines of each text of the batch with each other are soft labels too,
            of all kinds but graded pairs; the mined rows' scores say how a query stands to a few passages only.
        second_guide (`str`): Another one; the soft labels are then of the mean of both cosines (fused teachers).
        guide_softening (`float`): Where one text is far nearer than all others, the softmax of the guide's cosines
            says nothing of these. A second KL term, with both temperatures and the weight so many times as high, does.
        adapter (`str`): Training goes on from this adapter, as a second step; LoRA's settings are those of it.
        max_examples (`int`): 0 to this many few-shot examples stand in front of queries, drawn from the same batch.
        fixed_examples (`bool`): Every query of a task is shown the same `max_examples` instead, those that an export
            with as many and the same seed stores in the task's prompt.
        token_budget (`int`): Tokens per forward pass; decides memory, and without dropout never the result. Few-shot
            examples longer than half of it stand in each pass together with half a budget of what follows them.
        kept_tokens (`int`): Tokens of a process whose activations are kept between the two passes of a step; what is
            beyond is run forward twice. Memory for a third of the time, never the result. The last forward pass of a
            step is always kept.
        task_weights (`dict[str, float]`): The mixture: how often an epoch passes over a task's rows, 1 if not named.
        eval_rows (`int`): With transformers' `eval_strategy`, `eval_steps` and `load_best_model_at_end`, so many
            held-out rows of each task of the pairs are scored during training; the same for every seed.
        eval_examples (`int`): They are scored once more, as `<task>_<number>_examples`, behind so many examples.
        dry_run (`bool`): Print what training will do, with the memory and time that one real row takes, and stop.
    """

    triplets: str | None = field(default=None, **described("Folder or Hub id of the triplets."))
    pairs: str | None = field(default=None, **described("Folder or Hub id of the pairs, for their test splits."))
    retrieval_batch_size: int = field(default=512, **described("Global batch of retrieval and reranking tasks."))
    other_batch_size: int = field(default=256, **described("Global batch of all other tasks."))
    num_negatives: int = field(default=7, **described("Hard negatives per query; fewer where the row has fewer."))
    temperature: float = field(default=0.02, **described("Temperature of InfoNCE and of the student in the KL term."))
    teacher: Literal["bm25", "dense", "reranker", "rrf"] = field(default="reranker", **described("Soft labels."))
    teacher_temperature: float = field(default=1.0, **described("Temperature of the soft labels."))
    soft_label_weight: float = field(default=1.0, **described("Weight of the KL term; 0 switches it off."))
    guide: str | None = field(default=None, **described("Folder or Hub id of an embedder to learn similarities from."))
    second_guide: str | None = field(default=None, **described("Another one, whose similarities are averaged in."))
    guide_weight: float = field(default=1.0, **described("Weight of the guide's KL term."))
    guide_temperature: float = field(default=0.05, **described("Divides the guide's cosines before the softmax."))
    guide_softening: float | None = field(default=None, **described("A second KL term, so many times as soft."))
    adapter: str | None = field(default=None, **described("Folder or Hub id of an adapter to go on from."))
    nli_in_batch: bool = field(default=True, **described("In-batch negatives for NLI; the report has them off."))
    cosent_scale: float = field(default=20.0, **described("Scale of CoSENT for graded pairs."))
    max_length: int = field(default=512, **described("Tokens of a text, its instruction and EOS included."))
    max_examples: int = field(default=5, **described("Few-shot examples in front of a query at most."))
    fixed_examples: bool = field(default=False, **described("The same examples in front of all queries of a task."))
    example_max_length: int = field(default=256, **described("Tokens of each side of an example."))
    prompt_max_length: int = field(default=2048, **described("Tokens of examples, instruction and query together."))
    example_group_size: int = field(default=32, **described("Queries that share one draw of examples at most."))
    token_budget: int = field(default=4096, **described("Tokens per forward pass; more behind long examples."))
    kept_tokens: int = field(default=0, **described("Tokens whose activations are kept instead of computed twice."))
    task_weights: dict[str, float] = field(default_factory=dict, **described("Passes over a task's rows per epoch."))
    eval_rows: int = field(default=200, **described("Held-out rows of each task that eval_strategy scores."))
    eval_examples: int = field(default=0, **described("Few-shot examples to score the held-out rows with, too."))
    dry_run: bool = field(default=False, **described("Print what training will do, and stop."))

    def __post_init__(self):
        super().__post_init__()
        self.require("retrieval_batch_size", self.retrieval_batch_size >= 2, "write 2 or more queries")
        self.require("other_batch_size", self.other_batch_size >= 2, "write 2 or more queries")
        self.require("num_negatives", self.num_negatives >= 0, "write 0 or more; the report's recipe has 7")
        for key, usual in (("temperature", 0.02), ("teacher_temperature", 1.0), ("guide_temperature", 0.05),
                           ("cosent_scale", 20.0)):
            self.require(key, 0 < getattr(self, key) < math.inf, f"write a positive number, for example {usual}")
        self.require("soft_label_weight", 0 <= self.soft_label_weight < math.inf, "write 0 or more")
        self.require("guide_weight", 0 < self.guide_weight < math.inf, "write a positive number, or leave guide out")
        self.require("guide_softening", self.guide_softening is None or 1 < self.guide_softening < math.inf,
                     "write a number above 1, for example 3.0, or leave it out")
        for key in ("second_guide", "guide_weight", "guide_temperature", "guide_softening"):
            self.require(key, self.guide or getattr(self, key) == getattr(type(self), key),
                         "name a guide beside it, or leave it out")
        self.require("max_length", self.max_length >= 8, "write 8 or more tokens")
        few_shot = self.max_examples > 0 or self.eval_examples > 0
        self.require("prompt_max_length", self.prompt_max_length >= self.max_length + few_shot,
                     f"max_length ({self.max_length}) of it is for the query: write more, or max_examples and "
                     "eval_examples: 0" if few_shot else "it may not be below max_length")
        self.require("max_examples", 0 <= self.max_examples <= 16, "write 0 to 16; the report's recipe uses 5")
        self.require("fixed_examples", not self.fixed_examples or self.max_examples > 0,
                     "max_examples is 0: write how many there are, or leave fixed_examples out")
        self.require("token_budget", self.token_budget >= 1, "write a number of tokens, for example 2048")
        self.require("kept_tokens", self.kept_tokens >= 0, "write 0 or more tokens, for example 4096")
        self.require("example_max_length", self.example_max_length >= 1, "write 1 or more tokens, for example 256")
        self.require("example_group_size", self.example_group_size >= 1, "write 1 or more")
        self.require("task_weights", all(0 < w < math.inf for w in self.task_weights.values()),
                     "write a positive number for each task; leave a task out of the recipe to train without it")
        self.require("eval_rows", self.eval_rows >= 2, "write 2 or more rows, for example 200")
        self.require("eval_examples", 0 <= self.eval_examples <= 16, "write 0 to 16")
        self.require("push", not (self.push and self.dry_run), "a dry run makes nothing: leave push or dry_run out")

    @property
    def longest(self) -> int:
        """Tokens of the longest text that there may be, in training or among the held-out rows."""
        return self.prompt_max_length if self.max_examples or self.eval_examples else self.max_length

    @property
    def guide_terms(self) -> dict[str, float]:
        """Of each KL term of the guide, by its name in the log, the factor of temperatures and weight."""
        return {"loss_guide": 1.0} | ({"loss_guide_soft": self.guide_softening} if self.guide_softening else {})

    @staticmethod
    def evaluates(given: dict) -> bool:
        """Whether the recipe asks for scores during training.

        Which checkpoint is the best may depend on nothing that the artifact is not keyed by, and `save_steps` and
        `logging_steps` are no part of the key.

        Raises:
            [`RecipeError`]: it would.
        """
        if given.get("eval_strategy", "no") == "steps":
            if not given.get("eval_steps"):
                raise RecipeError("eval_steps: is missing beside eval_strategy: steps; write after how many steps the "
                                  "held-out rows are scored, for example 25.")
            saved = given.get("save_steps", 500) if given.get("save_strategy", "steps") == "steps" else None
            if given.get("load_best_model_at_end") and saved not in (None, given["eval_steps"]):
                raise RecipeError(f"save_steps: {saved} is not possible with load_best_model_at_end; write "
                                  f"save_steps: {given['eval_steps']}, as eval_steps: what is scored must be saved.")
        return given.get("eval_strategy", "no") != "no"
