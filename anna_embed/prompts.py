"""Every prompt the project builds: training, export, benchmark and the model card take it from here.

Format of the report's section 4.2, with the separators of e5-mistral and bge-en-icl:

    Instruct: {instruction}\\nQuery: {query}\\nResponse: {passage}\\n\\n      (each example)
    Instruct: {instruction}\\nQuery: {query}                                (then EOS, by the tokenizer)
"""

import random
from collections.abc import Sequence
from typing import Any

from anna_embed.parsing import RecipeError
from anna_embed.tokens import cut_to_fit

LOWEST_SCORE = 0.8  # a graded pair below this is no example of what is similar


def query_prompt(instruction: str) -> str:
    """The prefix of a text that carries an instruction; the empty string for an empty instruction."""
    return f"Instruct: {instruction}\nQuery: " if instruction else ""


def example(instruction: str, query: str, response: str) -> str:
    """One few-shot example, ready to be put in front of a query."""
    return f"{query_prompt(instruction)}{query}\nResponse: {response}\n\n"


def few_shot_prompt(instruction: str, examples: Sequence[tuple[str, str]]) -> str:
    """The whole prefix of a query: examples, then the instruction.

    Args:
        instruction (`str`): The task's instruction.
        examples (`Sequence[tuple[str, str]]`): Pairs of query and response, already cut to length.
    """
    return "".join(example(instruction, q, r) for q, r in examples) + query_prompt(instruction)


def last_instruction(prompt: str) -> str:
    """The instruction that a prompt of this format ends with, whatever examples stand before it.

    Raises:
        [`RecipeError`]: the prompt is of another format, or the empty one.
    """
    before, after = query_prompt("|").split("|")
    instruction = prompt.rpartition(before)[2].removesuffix(after)
    if not prompt.endswith(f"{before}{instruction}{after}"):
        raise RecipeError(f"prompt: {prompt!r} does not end with {query_prompt('...')!r}, so that examples cannot be "
                          "put in front of it; give instruction=.")
    return instruction


def as_example(row: dict[str, Any]) -> tuple[str, str] | None:
    """Query and response of a row of triplets: its category or intent where it has one, else the positive.

    None for a graded pair that is not similar enough to show what is meant.
    """
    good = row["label_score"] is None or row["label_score"] >= LOWEST_SCORE
    return (row["query"], row["label"] or row["positive"]) if good else None


def rows_shown(rows: Sequence[dict[str, Any]], task: str, number: int, seed: int) -> list[dict[str, Any]]:
    """The rows that a task shows in front of every query, where they are not drawn anew for each.

    No two share a query or a response; where responses are categories or intents, each is shown once before one is
    shown again.

    Args:
        rows (`Sequence[dict]`): The task's training rows.
        task (`str`), seed (`int`): The draw depends on both.
        number (`int`): Rows at most.
    """
    shown, spare, seen = [], [], set()
    for n in random.Random(f"{seed}:{task}").sample(range(len(rows)), len(rows)):
        if len(shown) == number:
            break
        row = rows[n]
        pair = as_example(row)
        if pair is None or pair[0] in seen:
            continue
        if pair[1] not in seen:
            shown.append(row)
        elif row["label"]:
            spare.append(row)
        else:
            continue
        seen |= set(pair)
    return (shown + spare)[:number]


def fitted_prompt(tokenizer, instruction: str, examples: Sequence[tuple[str, str]], each: int, room: int) -> str:
    """`few_shot_prompt` of as many examples, each side cut to `each` tokens, as add at most `room` tokens.

    What they add is counted on whole prompts: where an example meets the instruction, tokens may merge.

    Args:
        tokenizer: From `tokens.load_tokenizer`.
        instruction (`str`): The task's instruction.
        examples (`Sequence[tuple[str, str]]`): Pairs of query and response; the last ones are left out first.
        each (`int`): Tokens of a side.
        room (`int`): Tokens beside the prompt without examples.
    """
    sides = cut_to_fit(tokenizer, "", [side for pair in examples for side in pair],
                       each + tokenizer.num_special_tokens_to_add())
    kept = list(zip(sides[::2], sides[1::2]))
    prompts = [few_shot_prompt(instruction, kept[:n]) for n in range(len(kept), -1, -1)]
    sizes = [len(ids) for ids in tokenizer(prompts, add_special_tokens=False, verbose=False)["input_ids"]]
    return next(prompt for prompt, size in zip(prompts, sizes) if size - sizes[-1] <= room or prompt == prompts[-1])
