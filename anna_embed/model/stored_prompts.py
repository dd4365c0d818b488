"""The prompts that are stored in an exported model, with or without few-shot examples."""

import math

from datasets import Features

from anna_embed.kinds import KINDS
from anna_embed.prompts import as_example, fitted_prompt, query_prompt, rows_shown
from anna_embed.schema import TRIPLETS
from anna_embed.tables import read_split


def prompt_names(tasks: dict[str, dict]) -> dict[str, str]:
    """The name of each task's prompt.

    A task whose documents carry no instruction is named `<task>-query`, which is what mteb looks for: a bare task name
    would apply to its documents too.
    """
    return {task: f"{task}-query" if KINDS[t["kind"]].scored else task for task, t in tasks.items()}


def prompts_of(tasks: dict[str, dict], examples: dict[str, str]) -> dict[str, str]:
    """Prompts by name.

    - `query`: that of the first retrieval task, or else of the first task;
    - `document`: that task's instruction, if its documents carry it, else empty;
    - one of each task, under the name that `prompt_names` gives;
    - `<task>-document` for tasks without `-query` in that name whose documents get another prompt than their queries:
      label texts get none, and documents are never shown examples.

    Args:
        tasks (`dict[str, dict]`): Kind and instruction of each task.
        examples (`dict[str, str]`): The whole prompt of tasks that are shown examples.
    """
    prompts = {task: examples.get(task, query_prompt(t["instruction"])) for task, t in tasks.items()}
    first = next((task for task, t in tasks.items() if KINDS[t["kind"]].scored), next(iter(tasks)))
    documents = {task: query_prompt(t["instruction"]) if KINDS[t["kind"]].symmetric else ""
                 for task, t in tasks.items()}
    names = prompt_names(tasks)
    named = {name: prompts[task] for task, name in names.items()}
    named |= {f"{task}-document": documents[task] for task, name in names.items()
              if name == task and documents[task] != prompts[task]}
    return {"query": prompts[first], "document": documents[first], **named}


def few_shot_prompts(folder: str, tasks: dict[str, dict], tokenizer, number: int, each: int, room: int, seed: int,
                     key: str = "triplets", features: Features = TRIPLETS) -> dict[str, str]:
    """For each task a prompt with `number` examples, drawn from its training rows (`prompts.rows_shown`).

    Args:
        folder (`str`): The artifact that holds the rows.
        tasks (`dict[str, dict]`): Kind and instruction of each task.
        tokenizer: From `tokens.load_tokenizer`.
        number, each, room (`int`): Examples; tokens of a side; tokens of all examples together.
        seed (`int`): Draws them.
        key (`str`), features (`Features`): What the artifact is: triplets, or pairs.
    """
    prompts = {}
    for task, t in tasks.items():
        rows = read_split(key, folder, task, "train", features)
        chosen = [as_example(row) for row in rows_shown(rows, task, number, seed)]
        prompts[task] = fitted_prompt(tokenizer, t["instruction"], chosen, each, room)
        if prompts[task] != fitted_prompt(tokenizer, t["instruction"], chosen, each, math.inf):
            print(f"note: the prompt of '{task}' has fewer than {len(chosen)} examples, as there is room for {room} "
                  "tokens of them", flush=True)
    return prompts
