"""What every stage's configuration has: each class checks itself and names the remedy."""

import re
from dataclasses import dataclass, field, fields
from typing import get_type_hints

from anna_embed.parsing import RecipeError, check_type

# Keys that are no part of what an artifact is keyed by, so that a run may change them without making it anew: where
# things lie (inputs are keyed by their content instead), how they are shown, which hardware is used.
UNKEYED = {
    "artifacts", "mirror", "dry_run", "logging_steps", "logging_strategy", "disable_tqdm", "report_to", "run_name",
    "save_steps", "save_strategy", "save_total_limit", "use_cpu", "dataloader_num_workers", "pairs", "scores",
    "triplets", "adapter", "model", "reranker", "token_budget", "kept_tokens", "memory_gb", "ddp_timeout", "log_level",
    "log_level_replica", "logging_first_step", "project", "dataloader_pin_memory", "push", "namespace", "prefix",
    "tag", "private", "average",
}


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
        push (`bool`): Publish the artifact as soon as it is made, as `recipes.publish` would: one commit, a tag, and
            private unless `private` is false.
        namespace (`str`): User or organisation that owns the repositories.
        prefix (`str`): Repositories are named `<namespace>/<prefix>-<artifact>`.
        tag (`str`): Names the release; a tag that exists at another commit is an error.
        private (`bool`): New repositories are private.
    """

    artifacts: str = field(**described("Folder that holds this run's artifacts, one folder each."))
    mirror: list[str] = field(default_factory=list, **described("Folders in Hub layout to read instead of the Hub."))
    push: bool = field(default=False, **described("Publish the artifact when it is made."))
    namespace: str | None = field(default=None, **described("User or organisation to publish to."))
    prefix: str = field(default="anna", **described("First part of the repositories' names."))
    tag: str = field(default="v1", **described("Name of the release."))
    private: bool = field(default=True, **described("Visibility of new repositories."))

    def __post_init__(self):
        hints = get_type_hints(type(self))
        for f in fields(self):
            check_type(f.name, getattr(self, f.name), hints[f.name])
        self.require("seed", 0 <= vars(self).get("seed", 0) < 2**32, "write a number from 0 to 4294967295")
        self.require("artifacts", bool(self.artifacts.strip()), "name a folder")
        parts = r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*"
        self.require("prefix", bool(re.fullmatch(parts, self.prefix)) and len(self.prefix) <= 80,
                     "write at most 80 letters and digits, parted by single '-', '_' or '.'")
        fits = re.fullmatch(parts, self.tag) and not self.tag.endswith(".lock")  # which git refuses
        self.require("tag", bool(fits) and self.tag != "main", "write a version, for example v1")
        self.require("namespace", not self.namespace or bool(re.fullmatch(r"[\w.-]+", self.namespace, re.ASCII)),
                     "write the name of a user or organisation alone")
        if self.push:
            self.require("namespace", bool(self.namespace), "name a user or organisation (--namespace me)")
            self.require("mirror", not self.mirror, "a mirror keeps the stage off the network: publish afterwards, "
                         "with recipes.publish")

    def require(self, key: str, good: bool, remedy: str) -> None:
        """Raises [`RecipeError`] naming `key`, its value and the remedy unless `good`."""
        if not good:
            raise RecipeError(f"{key}: {getattr(self, key)!r} is not possible; {remedy}.")

    def input(self, key: str) -> str:
        """The input named `key`, or the artifact of that name beside the others."""
        return getattr(self, key) or f"{self.artifacts}/{key}"
