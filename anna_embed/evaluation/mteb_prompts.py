"""What stands in front of the texts of each mteb task."""

import json
from dataclasses import dataclass
from pathlib import Path

from anna_embed.prompts import query_prompt


@dataclass(frozen=True)
class TaskPrompt:
    """The prompts of one task.

    Args:
        text (`str`): In front of all texts of a task that does not tell queries from documents.
        query, document (`str`): In front of queries and documents.
        origin (`str`): Where they come from, for the record.
    """

    text: str
    query: str
    document: str
    origin: str


def prompts_by_task(tasks: dict[str, dict], prompts: dict[str, str]) -> dict[str, str]:
    """The prompt of each mteb task that the model was trained for, under the task's own name or one that it covers.

    Args:
        tasks (`dict[str, dict]`): The recipe's tasks, with `instruction` and perhaps `mteb_tasks`.
        prompts (`dict[str, str]`): Prompt of each of the recipe's tasks.
    """
    covered = {name: prompts[task] for task, t in tasks.items() for name in t.get("mteb_tasks", [])}
    return covered | prompts


def instructed(metadata, trained: dict[str, str], instructions: dict[str, str],
               origin: str = "the model's training") -> TaskPrompt:
    """The prompt of a task for a model that takes instructions in our format.

    To four tasks of MTEB(eng, v2) mteb gives a generic instruction, though the report trains on one of their own:
    FEVERHardNegatives, HotpotQAHardNegatives and ArXivHierarchicalClusteringP2P and S2S. They get that of FEVER,
    HotpotQA and ArxivClusteringP2P and S2S, by `instructions`.

    Args:
        metadata (`mteb.TaskMetadata`): Of the task.
        trained (`dict[str, str]`): Whole prompts that the model was trained with, by mteb task.
        instructions (`dict[str, str]`): Of the known training sources, by the mteb tasks that they cover.
        origin (`str`, *optional*): What the record says of `trained`.
    """
    from mteb.abstasks.abstask import get_abstask_prompt

    name, own = metadata.name, metadata.prompt
    if name in trained:
        return _in_front_of_queries(trained[name], origin)
    if name in instructions:
        return _in_front_of_queries(query_prompt(instructions[name]), "the training source that covers the task")
    own = own.get("query") if isinstance(own, dict) else own
    whose = "mteb's instruction of the task" if own else "mteb's instruction of the kind of task"
    return _in_front_of_queries(query_prompt(own or get_abstask_prompt(name)), whose)


def _in_front_of_queries(prompt, origin):
    return TaskPrompt(prompt, prompt, "", origin)


def of_model(metadata, model_path: str) -> TaskPrompt:
    """The prompts that a SentenceTransformer brings along, chosen as mteb chooses them; most bring none."""
    from mteb.models.abs_encoder import get_prompt_name
    from mteb.types import PromptType

    stored, default = read_prompts(model_path)
    names = [get_prompt_name(stored, metadata, kind) for kind in (None, PromptType.query, PromptType.document)]
    prompts = [stored.get(name or default) or "" for name in names]
    return TaskPrompt(*prompts, origin="the model's own" if any(prompts) else "none")


def read_prompts(model_path: str) -> tuple[dict[str, str], str | None]:
    """The prompts by name that a SentenceTransformer brings along, and the name of its default one, if it has any."""
    file = Path(model_path, "config_sentence_transformers.json")
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return config.get("prompts") or {}, config.get("default_prompt_name")
