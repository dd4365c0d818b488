"""What a caller of `encode` asks for, in any of the ways there are, as one prompt."""

import math
from collections.abc import Iterable

from anna_embed.config import TrainConfig
from anna_embed.model.text_files import is_unicode
from anna_embed.parsing import RecipeError, check_type
from anna_embed.prompts import fitted_prompt, last_instruction, query_prompt

ROLES = ("query", "document")  # what `encode_query` and `encode_document` give as the task; they choose a prompt too


def asked_prompt(model, prompt: str | None, task: str | None, instruction: str | None,
                 examples: Iterable[tuple[str, str]] | None) -> str:
    """The prompt that is put in front of each text.

    Args:
        model (`SentenceTransformer`): Has the stored prompts.
        prompt (`str`, *optional*): What the stock library made of `prompt` and `prompt_name`.
        task (`str`, *optional*): Names a stored prompt, as training named its tasks; goes before `prompt`. Where
            nothing else is given, `query` and `document` name the prompts of those names.
        instruction (`str`, *optional*): Goes before `prompt`, too.
        examples (`Iterable[tuple[str, str]]`, *optional*): Pairs of query and response to put in front, instead of the
            stored ones. Each side is cut to the 256 tokens that training allows by default.

    Raises:
        [`RecipeError`]: there is no such task, or what is given does not go together, is no string or no pair of them.
    """
    check_type("prompt", prompt, str | None)
    check_type("instruction", instruction, str | None)
    if task in ROLES:
        task, prompt = None, model.prompts.get(task) if prompt is None else prompt
    if task is not None and instruction is not None:
        raise RecipeError(f"task: '{task}' has an instruction of its own; give task= or instruction=, not both.")
    if task is not None:
        prompt = _stored(model.prompts, task)
    if instruction is not None:
        prompt = query_prompt(instruction)
    examples = [] if examples is None else list(examples)
    if not examples:
        return prompt or ""
    for n, pair in enumerate(examples):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(isinstance(side, str) for side in pair):
            raise RecipeError(f"examples: item {n}, {pair!r}, is no pair of a query and a passage; write examples="
                              "[(query, passage), ...].")
        if not is_unicode("".join(pair)):
            raise RecipeError(f"examples: item {n}, {str(pair)[:80]}, holds half a character (a lone surrogate); mend "
                              "it.")
    return fitted_prompt(model.tokenizer, last_instruction(prompt or ""), examples, TrainConfig.example_max_length,
                         math.inf)


def document_prompt(prompts: dict[str, str], task: str) -> str:
    """What stands in front of a task's documents: see [`~anna_embed.model.stored_prompts.prompts_of`]."""
    if f"{task}-document" in prompts:
        return prompts[f"{task}-document"]
    return _stored(prompts, task) if f"{task}-query" not in prompts else ""


def _stored(prompts, task):
    """A task's prompt: the export names it so that mteb does not put it in front of documents where it must not."""
    for name in (f"{task}-query", task):
        if name in prompts:
            return prompts[name]
    known = sorted({name.removesuffix("-query").removesuffix("-document") for name in prompts} - set(ROLES))
    raise RecipeError(f"task: the model has no prompt for '{task}'; it has them for {', '.join(known) or 'no task'}. "
                      "Name one of them, or give instruction=.")
