"""Few-shot examples in training: drawn from the same task's batch, never one that gives the answer away."""

import random

from anna_embed.prompts import few_shot_prompt, query_prompt
from anna_embed.tokens import cut_to_fit

LOWEST_SCORE = 0.8  # a graded pair below this is no example of what is similar


def groups_of(rows: list[dict], size: int) -> list[list[int]]:
    """Row numbers in groups that share one draw of examples, and so one prefix in the packed row."""
    return [list(range(start, min(start + size, len(rows)))) for start in range(0, len(rows), size)]


def draw(rows: list[dict], group: list[int], most: int, rng: random.Random) -> list[tuple[str, str]]:
    """0 to `most` pairs of query and response for one group of rows.

    An example never shares its query or its positive with a row of the group, in either role, and its positive is no
    sibling positive of such a row. The response is the positive; for rows that have a category or intent it is that.
    """
    taken = {rows[i][side] for i in group for side in ("query", "positive")}
    right = {name for i in group for name in rows[i]["sibling_positive_ids"]}
    possible = [r for r in rows if r["query"] not in taken and r["positive"] not in taken
                and r["positive_id"] not in right and (r["label_score"] is None or r["label_score"] >= LOWEST_SCORE)]
    count = min(rng.randint(0, most), len(possible))
    return [(r["query"], r["label"] or r["positive"]) for r in rng.sample(possible, count)]


def prefix(tokenizer, instruction: str, examples: list[tuple[str, str]], each: int, room: int) -> str:
    """The prompt with as many of the examples, each side cut to `each` tokens, as add at most `room` tokens to it.

    What they add is counted on whole prompts: where an example meets the instruction, tokens may merge.
    """
    sides = cut_to_fit(tokenizer, "", [t for pair in examples for t in pair],
                       each + tokenizer.num_special_tokens_to_add())
    kept = list(zip(sides[::2], sides[1::2]))
    alone = _size(tokenizer, query_prompt(instruction))
    while kept and _size(tokenizer, few_shot_prompt(instruction, kept)) - alone > room:
        kept.pop()
    return few_shot_prompt(instruction, kept)


def _size(tokenizer, text):
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])
