"""Real texts to compare vectors on."""

import random

from anna_embed.schema import TRIPLETS
from anna_embed.tables import read_split, tasks_of

EACH = 4  # texts per task and side: enough for lengths to differ, few enough to encode in float32 in seconds


def sample_texts(triplets: str, prompts: dict[str, str], seed: int) -> list[str]:
    """Queries with their prompts and bare passages of every task, one character, and one text beyond any limit."""
    texts, draw = ["a"], random.Random(seed)
    for task in tasks_of("triplets", triplets):
        rows = read_split("triplets", triplets, task, "train", TRIPLETS)
        chosen = rows.select(draw.sample(range(len(rows)), min(EACH, len(rows)))).to_list()
        prompt = prompts.get(f"{task}-query", prompts.get(task, ""))
        texts += [prompt + row["query"] for row in chosen] + [row["positive"] for row in chosen]
    return [*texts, " ".join(texts * 4)]
