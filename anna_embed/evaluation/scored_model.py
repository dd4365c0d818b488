"""The model that a benchmark run scores: what it is, how it is loaded, and what it is asked with."""

import json
import re
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path

from anna_embed.artifacts import OWN, read_manifest
from anna_embed.config import BenchmarkConfig, TrainConfig
from anna_embed.evaluation.heldout import Encode
from anna_embed.evaluation.mteb_prompts import instructed, of_model, prompts_by_task, read_prompts
from anna_embed.kinds import KINDS
from anna_embed.located import HUB_ID, Located
from anna_embed.model.encode import lay_out_untrained, load_encoder
from anna_embed.model.stored_prompts import few_shot_prompts, prompt_names
from anna_embed.prompts import query_prompt
from anna_embed.schema import PAIRS
from anna_embed.tables import tasks_of
from anna_embed.tokens import load_tokenizer


class ScoredModel:
    """A model by what lies in its folder.

    One that the export stage made is asked with its own prompts; a bare decoder as training would begin with it, with
    the instructions in our format and its last token; any other SentenceTransformer with what it brings along.

    Args:
        at (`Located`): The model.
        pairs (`str`, *optional*): The pairs artifact: its tasks, and the rows that examples are drawn from.
        config (`BenchmarkConfig`): The recipe.
        folder (`Path`): An empty folder; a bare decoder is laid out in it.
    """

    def __init__(self, at: Located, pairs: str | None, config: BenchmarkConfig, folder: Path):
        manifest = read_manifest(at.path)
        self.reference, self.digest, self.path, self.config = at.reference, at.digest, at.path, config
        self.is_ours = manifest.get("stage") == "export"
        is_bare = not Path(at.path, "modules.json").is_file()
        self.is_instructed = self.is_ours or is_bare
        if is_bare:
            lay_out_untrained(at.path, folder)
            self.path = str(folder)
        self.name = OWN if self.is_ours else at.reference
        self.what = ("a model of ours" if self.is_ours else "a bare decoder: its last token, our prompts" if is_bare
                     else "a SentenceTransformer, with its own prompts if it has any")
        self.example_length = manifest.get("training", {}).get("example_max_length", TrainConfig.example_max_length)
        self.tasks = manifest.get("tasks", {}) | (tasks_of("pairs", pairs) if pairs else {})
        self.own = {} if self.is_instructed else _own_prompts(self.path)
        self.prompts = self._prompts(manifest.get("prompts", {}), pairs)

    def _prompts(self, stored, pairs) -> dict[str, str]:
        """Prompt by task of the recipe; of a model that is not ours the one that it has for queries, or for all."""
        plain = {task: query_prompt(t["instruction"]) if self.is_instructed
                 else self.own["query" if KINDS[t["kind"]].scored else "text"] for task, t in self.tasks.items()}
        if self.config.num_examples is None:
            return {task: stored.get(name, plain[task]) for task, name in prompt_names(self.tasks).items()}
        self.config.require("num_examples", self.is_instructed, "this model knows no examples: leave the key out")
        return plain | (self._few_shot(pairs) if self.config.num_examples else {})

    @property
    def document_prompt(self) -> str:
        """What stands in front of the documents of tasks that tell them from queries."""
        return self.own.get("document", "")

    def _few_shot(self, pairs):
        """Prompts with examples, cut as in training; they leave a text the room that it has without them."""
        with_rows = {task: t for task, t in tasks_of("pairs", pairs).items()
                     if "train" in read_manifest(pairs)["rows"].get(task, {})}
        limit = json.loads(Path(self.path, "sentence_bert_config.json").read_text())["max_seq_length"]
        self.config.require("max_length", limit > self.config.max_length,
                            f"the model takes {limit} tokens, which leaves no room for examples")
        return few_shot_prompts(pairs, with_rows, load_tokenizer(self.path, limit), self.config.num_examples,
                                self.example_length, limit - self.config.max_length, self.config.seed, "pairs", PAIRS)

    @cached_property
    def load(self) -> Callable[[], Encode]:
        config = self.config
        return cache(lambda: load_encoder(self.path, config.max_length, config.batch_size, config.dtype))

    def candidate(self, instructions: dict[str, str]):
        """The model as mteb is to see it.

        Args:
            instructions (`dict[str, str]`): Of the known training sources, by the mteb tasks that they cover.
        """
        from anna_embed.evaluation.mteb_tasks import Candidate

        trained = prompts_by_task(self.tasks, self.prompts)
        origin = "the model's training" if self.is_ours else "the task of the pairs"
        made_from = {"model": self.digest, "dtype": self.config.dtype, "max_length": self.config.max_length}
        return Candidate(self.mteb_name, made_from, self.load,
                         lambda metadata: instructed(metadata, trained, instructions, origin) if self.is_instructed
                         else of_model(metadata, self.path))

    @property
    def mteb_name(self) -> str:
        """`org/name`, as mteb demands: that of the Hub, or one made of the folder's."""
        name = self.reference.partition("@")[0]
        if HUB_ID.fullmatch(name) and not Path(self.reference).exists():
            return name
        parts = Path(self.reference).resolve().parts[-2:]
        return "local/" + "-".join(re.sub(r"[^\w.]+", "-", part).strip("-") for part in parts)


def _own_prompts(path):
    """The prompts of a SentenceTransformer for queries, documents, and texts that are neither."""
    stored, name = read_prompts(path)
    default = stored.get(name) or ""
    # As `encode_document` chooses; an empty one is a prompt, too.
    documents = [stored[name] for name in ("document", "passage", "corpus") if name in stored]
    return {"query": stored.get("query", default), "text": default, "document": documents[0] if documents else default}
