"""One step's rows as distinct texts, and who is whose positive, negative or neither."""

import random
from collections import defaultdict
from dataclasses import dataclass

import torch

from anna_embed.kinds import KINDS
from anna_embed.prompts import fitted_prompt, query_prompt
from anna_embed.tokens import cut_to_fit, tokenize
from anna_embed.training import examples


@dataclass
class Batch:
    """A global batch; every process builds the same one and encodes its share of the texts.

    Args:
        tokens (`list[list[int]]`): Token ids of each distinct prompted text.
        texts (`list[str]`): The same N texts without prompts, as the rows have them.
        query, positive (`torch.Tensor`): (B,) indices into `texts`.
        passages (`torch.Tensor`): (M,) indices into `texts` of those that are passages, each distinct one once.
        target (`torch.Tensor`): (B,) index into `passages` of each query's own positive.
        allowed (`torch.Tensor`): (B, M) bool, the passages that each query is compared with: its positive, its hard
            negatives and, for kinds that have them, in-batch negatives.
        group (`torch.Tensor`): (B, 1 + K) indices into `passages` of the own positive and hard negatives; 0 in empty
            slots.
        present (`torch.Tensor`): (B, 1 + K) bool, False in empty slots of `group`.
        teacher (`torch.Tensor`, *optional*): (B, 1 + K) teacher scores, for kinds with soft labels.
        score (`torch.Tensor`): (B,) graded similarity; NaN where there is none.
        guide (`torch.Tensor`, *optional*): (N, N) a frozen model's cosines of all texts, see `guide.py`.
        compared (`torch.Tensor`, *optional*): (N, N) bool, which of them are soft labels.
    """

    tokens: list[list[int]]
    texts: list[str]
    query: torch.Tensor
    positive: torch.Tensor
    passages: torch.Tensor
    target: torch.Tensor
    allowed: torch.Tensor
    group: torch.Tensor
    present: torch.Tensor
    teacher: torch.Tensor | None
    score: torch.Tensor
    guide: torch.Tensor | None = None
    compared: torch.Tensor | None = None


def has_soft_labels(task: dict, config) -> bool:
    """Whether the teacher's scores of a task are used."""
    return KINDS[task["kind"]].scored and config.soft_label_weight > 0


def build(rows: list[dict], task: dict, tokenizer, config, seed: str, fixed: list[dict] | None = None) -> Batch:
    """Makes a batch of rows of the triplets artifact.

    Args:
        rows (`list[dict]`): The rows of one step.
        task (`dict`): Its kind and instruction.
        tokenizer: With EOS in its post-processor (`tokens.load_tokenizer`).
        config (`TrainConfig`): Lengths, number of negatives and examples, teacher.
        seed (`str`): Draws the examples.
        fixed (`list[dict]`, *optional*): Rows that are the examples of every query instead.
    """
    kind = KINDS[task["kind"]]
    prompt = query_prompt(task["instruction"]) if kind.symmetric else ""
    texts = list(dict.fromkeys(t for row in rows for t in _group(row, config.num_negatives)))
    shown = [prompt + t for t in cut_to_fit(tokenizer, prompt, texts, config.max_length)]
    # A passage is what the model sees of it: two that are equal up to where they are cut are one.
    place = {t: i for i, t in enumerate(dict.fromkeys(shown))}
    column = {text: place[t] for text, t in zip(texts, shown)}
    queries = [prompt + t for t in cut_to_fit(tokenizer, prompt, [row["query"] for row in rows], config.max_length)]
    own = [_columns(row, column, place.get(query), config.num_negatives) for row, query in zip(rows, queries)]
    group = torch.zeros(len(rows), max(map(len, own)), dtype=torch.long)
    present = torch.zeros_like(group, dtype=torch.bool)
    teacher = torch.zeros(group.shape) if has_soft_labels(task, config) else None
    for i, (row, columns) in enumerate(zip(rows, own)):
        group[i, : len(columns)], present[i, : len(columns)] = torch.tensor(list(columns)), True
        if teacher is not None:
            teacher[i, : len(columns)] = torch.tensor([row[f"teacher_{config.teacher}"][p] for p in columns.values()])
    in_batch = kind.in_batch and (task["kind"] != "nli" or config.nli_in_batch)
    more = [row[side] for row in fixed or [] for side in ("query", "positive")]
    seen = dict(zip([*texts, *(row["query"] for row in rows), *more],
                    [*shown, *queries, *(prompt + t for t in cut_to_fit(tokenizer, prompt, more, config.max_length))]))
    asked = _queries(rows, task, tokenizer, config, seed, fixed, seen)
    number = {string: n for n, string in enumerate(dict.fromkeys([*asked, *place]))}
    bare = dict(zip(shown, texts)) | {string: row["query"] for string, row in zip(asked, rows)}
    passages = torch.tensor([number[string] for string in place])
    longest = config.prompt_max_length if config.max_examples else config.max_length
    return Batch(
        tokens=tokenize(tokenizer, number, longest), texts=[bare[string] for string in number],
        query=torch.tensor([number[string] for string in asked]), positive=passages[group[:, 0]], passages=passages,
        target=group[:, 0].clone(), allowed=_allowed(rows, queries, own, column, place, in_batch),
        group=group, present=present, teacher=teacher,
        score=torch.tensor([float("nan") if r["label_score"] is None else r["label_score"] for r in rows]))


def _group(row, most):
    """The positive and the row's first negatives (mining sorted them, hardest first)."""
    return [row["positive"], *row["negatives"][:most]]


def _columns(row, column, itself, most):
    """Columns of the own group, the positive first, each with its place in the row and so among the teacher's scores.

    A negative that is the query `itself` (its column, if it is a passage too), the positive or a repetition is left
    out, and its score with it.
    """
    columns = {}
    for place, text in enumerate(_group(row, most)):
        if place == 0 or column[text] != itself:
            columns.setdefault(column[text], place)
    return columns


def _queries(rows, task, tokenizer, config, seed, fixed, seen):
    """Query strings with instruction and, group by group, few-shot examples.

    The query keeps `max_length` with its instruction; the examples get what `prompt_max_length` leaves, so that no
    string is cut once more and loses its end. A batch of two rows has two groups at least, as each is shown rows of
    the others.
    """
    prompt, rng = query_prompt(task["instruction"]), random.Random(seed)
    cut = cut_to_fit(tokenizer, prompt, [row["query"] for row in rows], config.max_length)
    strings = []
    for group in examples.groups_of(rows, min(config.example_group_size, max(1, len(rows) // 2))):
        drawn = examples.draw(rows, group, config.max_examples, rng, fixed, task["kind"], seen)
        shared = fitted_prompt(tokenizer, task["instruction"], drawn, config.example_max_length,
                               config.prompt_max_length - config.max_length)
        strings += [shared + cut[i] for i in group]
    return strings


def _allowed(rows, queries, own, column, place, in_batch):
    """What each query is compared with: its own group, and in-batch every passage that is not known to be right.

    Left out in-batch: the query's own text, its sibling positives, and the positives of the same query elsewhere in
    the batch; texts and queries are the same that are so up to where they are cut. The own group always stays.
    """
    allowed = torch.full((len(rows), len(place)), in_batch)
    positives, by_id = defaultdict(set), {}
    for row, query in zip(rows, queries):
        positives[query].add(column[row["positive"]])
        names, texts = (row["positive_id"], *row["negative_ids"]), (row["positive"], *row["negatives"])
        by_id |= {name: column[text] for name, text in zip(names, texts) if text in column}
    for i, (row, query) in enumerate(zip(rows, queries)):
        right = positives[query] | {by_id[name] for name in row["sibling_positive_ids"] if name in by_id}
        if query in place:
            right.add(place[query])
        allowed[i, list(right)] = False
        allowed[i, list(own[i])] = True
    return allowed
