"""Few-shot examples in training: of the same task, never one that gives the answer away."""

import random

from anna_embed.prompts import as_example


def groups_of(rows: list[dict], size: int) -> list[list[int]]:
    """Row numbers in groups that share one draw of examples, and so one prefix in the packed row."""
    return [list(range(start, min(start + size, len(rows)))) for start in range(0, len(rows), size)]


def draw(rows: list[dict], group: list[int], most: int, rng: random.Random, fixed: list[dict] | None = None,
         kind: str = "retrieval", seen: dict[str, str] | None = None) -> list[tuple[str, str]]:
    """0 to `most` pairs of query and response for one group of rows.

    An example never shares its query or its positive with a row of the group, in either role, and its positive is no
    sibling positive of such a row. The response is the positive; for rows that have a category or intent it is that.

    In classification, where the positive is the label's text, only the query counts. Examples are drawn whatever
    their label, so a label that is shown says nothing of the query's own; if its own were never shown, the shown ones
    would tell what it is not.

    Args:
        rows (`list[dict]`): The batch, from which the examples are drawn.
        group (`list[int]`): Whose queries they stand in front of.
        most (`int`): How many at most; each number is as likely.
        rng (`random.Random`): Draws them.
        fixed (`list[dict]`, *optional*): Rows to show instead, all of them but those that would give an answer away.
        kind (`str`): Of the task.
        seen (`dict[str, str]`, *optional*): What the model sees of a text, if that is not all of it: texts that are
            equal up to where they are cut are the same.
    """
    def cut(text):
        return (seen or {}).get(text, text)

    taken = {cut(rows[i]["query"]) for i in group}
    right = {name for i in group for name in rows[i]["sibling_positive_ids"]}
    taken |= {cut(rows[i]["positive"]) for i in group if kind != "classification"}
    possible = [r for r in (rows if fixed is None else fixed)
                if cut(r["query"]) not in taken and cut(r["positive"]) not in taken and r["positive_id"] not in right
                and as_example(r)]
    if fixed is None:
        possible = rng.sample(possible, min(rng.randint(0, most), len(possible)))
    return [as_example(row) for row in possible]
