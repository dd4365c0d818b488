"""What every stage's configuration has: each class checks itself and names the remedy."""

from dataclasses import dataclass, field, fields
from typing import get_type_hints

from anna_embed.parsing import RecipeError, check_type

# What a run may change without making another artifact: where things lie, how they are shown, which hardware is used.
HOW = {"artifacts", "mirror", "dry_run", "force", "logging_steps", "logging_strategy", "disable_tqdm", "report_to",
       "run_name", "save_steps", "save_strategy", "save_total_limit", "use_cpu", "dataloader_num_workers", "pairs",
       "scores", "triplets", "adapter", "model", "reranker", "token_budget", "memory_gb", "log_level"}


def described(text):
    return {"metadata": {"help": text}}


@dataclass
class StageConfig:
    """What every stage has.

    Args:
        artifacts (`str`): The folder that holds the run's artifacts, one folder each. An input that is not named is
            looked for there.
        mirror (`list[str]`): Folders laid out as the Hub (`models/<org>/<name>`, `datasets/<org>/<name>`). Given one,
            nothing is read from the network.
    """

    artifacts: str = field(**described("Folder that holds this run's artifacts, one folder each."))
    mirror: list[str] = field(default_factory=list, **described("Folders in Hub layout to read instead of the Hub."))

    def __post_init__(self):
        hints = get_type_hints(type(self))
        for f in fields(self):
            check_type(f.name, getattr(self, f.name), hints[f.name])

    def require(self, key: str, good: bool, remedy: str) -> None:
        """Raises [`RecipeError`] naming `key`, its value and the remedy unless `good`."""
        if not good:
            raise RecipeError(f"{key}: {getattr(self, key)!r} is not possible; {remedy}.")

    def input(self, key: str) -> str:
        """The input named `key`, or the artifact of that name beside the others."""
        return getattr(self, key) or f"{self.artifacts}/{key}"
