"""Held-out rows that training is watched by: a seeded sample of each task, under the prompts of training."""

import random
from dataclasses import dataclass, field, replace

from datasets import Dataset
from transformers.utils import logging

from anna_embed.artifacts import read_manifest
from anna_embed.kinds import KINDS
from anna_embed.parsing import RecipeError
from anna_embed.prompts import as_example, fitted_prompt, query_prompt, rows_shown
from anna_embed.schema import PAIRS
from anna_embed.tables import read_split, tasks_of
from anna_embed.tokens import cut_to_fit, tokenize

logger = logging.get_logger(__name__)
SEED = 42  # draws the rows, whatever the seed of training: otherwise runs of several seeds could not be compared


@dataclass
class Sample:
    """Held-out rows of one task.

    Args:
        name, kind, instruction (`str`): The task.
        sides (`list[list[str]]`): The texts that are compared: queries and passages; left and right; anchors,
            positives and negatives; texts and labels; for clustering the texts alone.
        right (`list`): For each text of the first side the numbers of its right passages, its graded similarity, 1
            (the positive is nearer), or the number of its label.
        examples (`list[tuple[str, str]]`): Pairs of query and response that stand in front of every text with an
            instruction.
    """

    name: str
    kind: str
    instruction: str
    sides: list[list[str]]
    right: list
    examples: list[tuple[str, str]] = field(default_factory=list)

    @property
    def says_something(self) -> bool:
        """Whether a model can do well or badly on it."""
        if self.kind in ("sts", "clustering"):
            return len(set(self.right)) > 1
        return len(self.sides[1]) > (0 if self.kind == "nli" else 1)


def read_samples(folder: str, most: int, seed: int) -> list[Sample]:
    """A sample of each task of a pairs artifact that has a test split.

    Args:
        folder (`str`): The artifact.
        most (`int`): Rows of a task.
        seed (`int`): Draws them, together with the task's name.

    Raises:
        [`RecipeError`]: no task has rows to score.
    """
    rows, samples = read_manifest(folder).get("rows", {}), []
    for name, task in tasks_of("pairs", folder).items():
        if "test" in rows.get(name, {}):
            drawn = sample(name, task, read_split("pairs", folder, name, "test", PAIRS), most, seed)
            if drawn.says_something:
                samples.append(drawn)
            else:
                logger.warning(f"The {most} held-out rows of '{name}' leave nothing to tell apart: it is not scored.")
    if not samples:
        raise RecipeError(f"pairs: '{folder}' has no test split that eval_strategy could score; give a task of "
                          "convert.yaml a test_split or test_path, or leave eval_strategy out.")
    return samples


def sample(name: str, task: dict, table: Dataset, most: int, seed: int) -> Sample:
    """At most `most` of a task's held-out rows; a retrieval query meets the passages of the rows drawn, no others."""
    usable = range(len(table))
    needed = {"nli": "negatives", "clustering": "label"}.get(task["kind"])
    if needed:
        usable = [number for number, value in enumerate(table[needed]) if value]
    chosen = random.Random(f"{seed}:{name}").sample(usable, min(most, len(usable)))
    make = {"sts": _graded, "nli": _inferred, "classification": _classified, "clustering": _clustered}
    sides, right = make.get(task["kind"], _retrieved)(table.select(sorted(chosen)).to_list(), table)
    return Sample(name, task["kind"], task["instruction"], sides, right)


def _retrieved(rows, table):
    queries = {row["query_id"]: row["query"] for row in rows}
    passages = {row["positive_id"]: row["positive"] for row in rows}
    place, right = {name: number for number, name in enumerate(passages)}, {name: set() for name in queries}
    for query, passage in zip(table["query_id"], table["positive_id"]):  # a row not drawn may say that one is right
        if query in right and passage in place:
            right[query].add(place[passage])
    return [list(queries.values()), list(passages.values())], [sorted(numbers) for numbers in right.values()]


def _graded(rows, table):
    return [[row["query"] for row in rows], [row["positive"] for row in rows]], [row["label_score"] for row in rows]


def _inferred(rows, table):
    triplets = [(row["query"], row["positive"], row["negatives"][0]) for row in rows]
    return [[triplet[side] for triplet in triplets] for side in range(3)], [1] * len(triplets)


def _classified(rows, table):
    labels = sorted(set(table["positive"]))  # those of rows not drawn too, or the task would be easier
    return [[row["query"] for row in rows], labels], [labels.index(row["positive"]) for row in rows]


def _clustered(rows, table):
    labels = sorted({row["label"] for row in rows})
    return [[row["query"] for row in rows]], [labels.index(row["label"]) for row in rows]


def few_shot(samples: list[Sample], rows: dict[str, Dataset], number: int, seed: int) -> list[Sample]:
    """The same held-out rows, behind examples of the task's training rows; of tasks that have some.

    Args:
        samples (`list[Sample]`): As `read_samples` draws them.
        rows (`dict[str, Dataset]`): Training rows of each task.
        number (`int`), seed (`int`): How many examples, and what draws them (`prompts.rows_shown`).
    """
    shown = {drawn.name: rows_shown(rows[drawn.name], drawn.name, number, seed)
             for drawn in samples if drawn.name in rows}
    return [replace(drawn, name=f"{drawn.name}_{number}_examples", examples=[*map(as_example, shown[drawn.name])])
            for drawn in samples if shown.get(drawn.name)]


def tokens_of(samples: list[Sample], tokenizer, config) -> list[list[int]]:
    """Token ids of all texts, side by side: the first side carries the instruction, the others where documents do.

    Args:
        samples (`list[Sample]`): The held-out rows.
        tokenizer: From `tokens.load_tokenizer`.
        config ([`TrainConfig`]): Lengths of texts, examples, and all together.
    """
    tokens, room = [], config.prompt_max_length - config.max_length
    for drawn in samples:
        shared = fitted_prompt(tokenizer, drawn.instruction, drawn.examples, config.example_max_length, room)
        for number, side in enumerate(drawn.sides):
            asked = number == 0 or KINDS[drawn.kind].symmetric
            prompt, before = (query_prompt(drawn.instruction), shared) if asked else ("", "")
            texts = [before + text for text in cut_to_fit(tokenizer, prompt, side, config.max_length)]
            tokens += tokenize(tokenizer, texts, config.prompt_max_length if drawn.examples else config.max_length)
    return tokens


def check_best(arguments, names: list[str]) -> None:
    """Raises [`RecipeError`] unless the best checkpoint can be told by the scores of these names."""
    metric = arguments.metric_for_best_model
    if metric is not None and metric.removeprefix("eval_") not in names:
        raise RecipeError(f"metric_for_best_model: '{metric}' is no score of the held-out rows; write one of "
                          f"{', '.join(names)}.")
    if metric is not None and not arguments.greater_is_better:
        raise RecipeError("greater_is_better: False would keep the worst checkpoint, as of all these scores more is "
                          "better; write true, or leave it out.")


def scores_of(state, best: bool) -> dict[str, float]:
    """What was scored last, or with `best` at the step whose adapter was kept; empty if nothing was."""
    lines = [line for line in state.log_history if "eval_mean" in line]
    if best:
        lines = [line for line in lines if line["step"] == state.best_global_step]
    beside = ("epoch", "eval_runtime", "eval_samples_per_second")
    return {name: value for line in lines[-1:] for name, value in line.items() if name not in beside}
