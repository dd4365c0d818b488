"""How long a run will take, said before it starts: from mteb's counts and two measured batches."""

import time

from anna_embed.evaluation.copies import described, learns
from anna_embed.evaluation.heldout import Encode
from anna_embed.evaluation.mteb_prompts import TaskPrompt
from anna_embed.evaluation.panel import Part, load_task

TEXTS = 24  # of a probe: a second or two for a small model on two cores
SENTENCE = "The harbour lies open to the west, and from {n} in the morning the boats come in with what they caught."
LONGEST = 2000  # characters of a text that count: about 512 tokens
TEXTS_OF = {f"{what}_statistics" for what in ("text", "text1", "text2", "documents_text", "queries_text",
                                              "human_summaries", "machine_summaries")}
UNKNOWN = (2000, 200_000)  # texts and characters of a task that mteb does not describe


class Estimate:
    """Seconds of encoding by task (`seconds`), and of all that are left, corrected by those that are done.

    Args:
        encode (`Callable`): The model; it encodes two probes of short and long texts.
        prompts (`dict[Part, TaskPrompt]`): The tasks to come.
    """

    def __init__(self, encode: Encode, prompts: dict[Part, TaskPrompt]):
        prompt = max((p.text for p in prompts.values()), key=len, default="")
        sizes = {}
        for sentences in (1, 4):
            texts = [" ".join(SENTENCE.format(n=f"{k} {n}") for k in range(sentences)) for n in range(TEXTS)]
            encode(texts[:2], prompt)  # the first call also warms caches
            start = time.perf_counter()
            encode(texts, prompt)
            sizes[sum(map(len, texts)) / TEXTS] = (time.perf_counter() - start) / TEXTS
        (short, fast), (long, slow) = sizes.items()
        self.per_character = max(slow - fast, 0) / (long - short)
        self.per_text = max(fast - short * self.per_character, 0)
        self.seconds = {part: self._of(part) for part in prompts}
        self.spent, self.planned = 0.0, 0.0

    def _of(self, part):
        texts, characters = amount(part)
        return texts * self.per_text + min(characters, texts * LONGEST) * self.per_character

    @property
    def left(self) -> float:
        """Seconds for the tasks to come, by what those before took."""
        return sum(self.seconds.values()) * (self.spent / self.planned if self.planned else 1)

    def done(self, part: Part, seconds: float) -> None:
        self.planned += self.seconds.pop(part)
        self.spent += seconds


def amount(part: Part) -> tuple[int, int]:
    """Distinct texts that a task encodes, and their characters, by mteb's own statistics."""
    task = load_task(part)
    texts = characters = 0
    for split in [*task.eval_splits, *([task.train_split] if learns(task) else [])]:
        for subset in task.hf_subsets:
            counted = described(task, split, subset) or described(task, "test", subset)
            for name, sizes in counted.items():
                if name in TEXTS_OF and sizes:
                    n = sizes["unique_texts"]
                    if split not in task.eval_splits:  # what the classifiers are trained on
                        labels = counted["label_statistics"]["unique_labels"]
                        n = min(n, labels * task.samples_per_label * task.n_experiments)
                    n = min(n, {"documents": part.documents, "queries": part.queries}.get(name.split("_")[0]) or n)
                    texts, characters = texts + n, characters + n * sizes["average_text_length"]
    return (texts, int(characters)) if texts else UNKNOWN


def show_minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
