"""One step's rows as distinct texts, and who is whose positive, negative or neither."""

import random
from dataclasses import dataclass

import torch

from anna_embed.kinds import KINDS
from anna_embed.prompts import query_prompt
from anna_embed.tokens import cut_to_fit, tokenize
from anna_embed.training import examples


@dataclass
class Batch:
    """A global batch; every process builds the same one and encodes its share of the texts.

    Args:
        tokens (`list[list[int]]`): Token ids of each distinct prompted text.
        query, positive (`torch.Tensor`): (B,) numbers of texts.
        passages (`torch.Tensor`): (M,) numbers of the texts that are passages.
        target (`torch.Tensor`): (B,) column of the own positive among the passages.
        allowed (`torch.Tensor`): (B, M) bool, what each query is compared with.
        group (`torch.Tensor`): (B, 1 + K) columns of the own positive and negatives; 0 in empty slots.
        present (`torch.Tensor`): (B, 1 + K) bool.
        teacher (`torch.Tensor`, *optional*): (B, 1 + K) teacher scores, for scored kinds.
        score (`torch.Tensor`): (B,) graded similarity; NaN where there is none.
    """

    tokens: list[list[int]]
    query: torch.Tensor
    positive: torch.Tensor
    passages: torch.Tensor
    target: torch.Tensor
    allowed: torch.Tensor
    group: torch.Tensor
    present: torch.Tensor
    teacher: torch.Tensor | None
    score: torch.Tensor


def build(rows: list[dict], task: dict, tokenizer, config, seed: str) -> Batch:
    """Makes a batch of rows of the triplets artifact.

    Args:
        rows (`list[dict]`): The rows of one step.
        task (`dict`): Its kind and instruction.
        tokenizer: With EOS in its post-processor (`tokens.load_tokenizer`).
        config (`TrainConfig`): Lengths, number of negatives and examples, teacher.
        seed (`str`): Draws the examples.
    """
    kind = KINDS[task["kind"]]
    negatives = [_negatives(row, config.num_negatives) for row in rows]
    prompted = {}  # string -> number of the text
    query = [prompted.setdefault(t, len(prompted)) for t in _queries(rows, task, tokenizer, config, seed)]
    prompt = query_prompt(task["instruction"]) if kind.symmetric else ""
    texts = list(dict.fromkeys(t for row, n in zip(rows, negatives) for t in (row["positive"], *n)))
    cut = cut_to_fit(tokenizer, prompt, texts, config.max_length)
    number = {t: prompted.setdefault(prompt + c, len(prompted)) for t, c in zip(texts, cut)}
    column = {t: i for i, t in enumerate(texts)}
    group = torch.zeros(len(rows), 1 + max(map(len, negatives)), dtype=torch.long)
    present = torch.zeros_like(group, dtype=torch.bool)
    for i, (row, own) in enumerate(zip(rows, negatives)):
        columns = [column[t] for t in (row["positive"], *own)]
        group[i, : len(columns)], present[i, : len(columns)] = torch.tensor(columns), True
    longest = config.prompt_max_length if config.max_examples else config.max_length
    return Batch(
        tokens=tokenize(tokenizer, prompted, longest),
        query=torch.tensor(query), positive=torch.tensor([number[row["positive"]] for row in rows]),
        passages=torch.tensor([number[t] for t in texts]), target=group[:, 0].clone(),
        allowed=_allowed(rows, texts, column, group, present, kind.in_batch and (task["kind"] != "nli" or config.nli_in_batch)),
        group=group, present=present, teacher=_teacher(rows, present, config) if kind.scored else None,
        score=torch.tensor([float("nan") if r["label_score"] is None else r["label_score"] for r in rows]))


def _negatives(row, most):
    """The row's first negatives (mining sorted them, hardest first); never the query or the positive itself."""
    return [n for n in row["negatives"][:most] if n not in (row["query"], row["positive"])]


def _queries(rows, task, tokenizer, config, seed):
    """Query strings with instruction and, group by group, few-shot examples."""
    prompt, rng = query_prompt(task["instruction"]), random.Random(seed)
    cut = cut_to_fit(tokenizer, prompt, [row["query"] for row in rows], config.max_length)
    strings = []
    for group in examples.groups_of(rows, config.example_group_size):
        drawn = examples.draw(rows, group, config.max_examples, rng)
        room = config.prompt_max_length - config.max_length + len(tokenizer(prompt)["input_ids"])
        shared = examples.prefix(tokenizer, task["instruction"], drawn, config.example_max_length, room)
        strings += [shared + cut[i] for i in group]
    return strings


def _allowed(rows, texts, column, group, present, in_batch):
    """What each query is compared with: its own group, and in-batch every passage that is not known to be right.

    Left out: the query's own text, its sibling positives, and the positives of the same query elsewhere in the batch.
    """
    allowed = torch.full((len(rows), len(texts)), in_batch)
    if in_batch:
        ids = {}
        for row in rows:
            ids.setdefault(row["query"], set()).add(column[row["positive"]])
        by_id = {row["positive_id"]: column[row["positive"]] for row in rows}
        by_id |= {i: column[t] for row in rows for i, t in zip(row["negative_ids"], row["negatives"]) if t in column}
        for i, row in enumerate(rows):
            known = ids[row["query"]] | {by_id[s] for s in row["sibling_positive_ids"] if s in by_id}
            known |= {column[row["query"]]} & set(column.values()) if row["query"] in column else set()
            allowed[i, list(known)] = False
    numbers = torch.arange(len(rows))[:, None].expand_as(group)
    allowed[numbers[present], group[present]] = True
    return allowed


def _teacher(rows, present, config):
    """Scores of the own group; a negative that was left out of the group takes its score with it."""
    scores = torch.zeros(present.shape)
    for i, row in enumerate(rows):
        kept = [n not in (row["query"], row["positive"]) for n in row["negatives"][: config.num_negatives]]
        own = row[f"teacher_{config.teacher}"]
        values = [own[0]] + [s for s, keep in zip(own[1:], kept) if keep]
        scores[i, : len(values)] = torch.tensor(values)
    return scores
