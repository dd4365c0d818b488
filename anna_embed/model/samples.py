"""Real texts to compare vectors on."""

import random

from anna_embed.model.stored_prompts import prompt_names
from anna_embed.schema import TRIPLETS
from anna_embed.tables import read_split

EACH = 4  # texts per task and side: enough for lengths to differ, few enough to encode in float32 in seconds


def sample_texts(triplets: str, tasks: dict[str, dict], prompts: dict[str, str], limit: int, seed: int) -> list[str]:
    """Queries with their prompts and bare passages of every task, one character, and a text beyond `limit` tokens."""
    texts, draw = ["a"], random.Random(seed)
    for task, name in prompt_names(tasks).items():
        rows = read_split("triplets", triplets, task, "train", TRIPLETS)
        chosen = rows.select(draw.sample(range(len(rows)), min(EACH, len(rows)))).to_list()
        texts += [prompts[name] + row["query"] for row in chosen] + [row["positive"] for row in chosen]
    return [*texts, " ".join(texts[n % len(texts)] for n in range(limit))]
