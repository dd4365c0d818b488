"""Who is compared with whom: the masks of a batch against the obvious loops."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import TASKS, triplet, triplet_rows

from anna_embed.config import TrainConfig
from anna_embed.training.batch import build

QUESTIONS = {"kind": "retrieval", "instruction": "Find"}
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
QUERIES, TEXTS = st.sampled_from("pqrs"), st.sampled_from("pqabcdef")


def config(**keys):
    return TrainConfig(**({"artifacts": "unused", "max_length": 24, "max_examples": 0, "num_negatives": 3} | keys))


@st.composite
def rows(draw):
    """Rows that share queries, positives, negatives and siblings in every possible way."""
    made = []
    for _ in range(draw(st.integers(1, 6))):
        query = draw(QUERIES)
        negatives = draw(st.lists(TEXTS, max_size=4))
        made.append(triplet(query, draw(TEXTS.filter(lambda t: t != query)), negatives,
                            siblings=draw(st.lists(TEXTS, max_size=2)), scores=range(1 + len(negatives))))
    return made


def shown(batch, tokenizer):
    """The passages' texts, read back from their tokens (each ends in EOS)."""
    return [tokenizer.decode(batch.tokens[n][:-1]) for n in batch.passages.tolist()]


def kept_negatives(row, most=3):
    """What may stand in a group, one by one."""
    kept = []
    for place, text in enumerate(row["negatives"][:most]):
        if text != row["query"] and text != row["positive"] and text not in [t for t, _ in kept]:
            kept.append((text, 1 + place))
    return kept


@SLOW
@given(rows(), st.booleans())
def test_masks_equal_three_loops(tokenizer, rows, in_batch):
    """A false negative that slips through repels what should be near; a mask too many wastes negatives."""
    task = QUESTIONS if in_batch else {"kind": "classification", "instruction": "Find"}
    batch = build(rows, task, tokenizer, config(), "0")
    texts = shown(batch, tokenizer)
    assert len(texts) == len(set(texts))  # a passage that several rows share is counted once
    for i, row in enumerate(rows):
        own = [row["positive"], *(t for t, _ in kept_negatives(row))]
        for column, text in enumerate(texts):
            right = text == row["query"] or text in row["sibling_positive_ids"]
            for other in rows:
                right = right or (other["query"] == row["query"] and other["positive"] == text)
            assert batch.allowed[i, column] == (text in own or (in_batch and not right)), (row, text)
        assert texts[batch.target[i]] == row["positive"] and batch.allowed[i, batch.target[i]]


@SLOW
@given(rows())
def test_groups_and_scores_stay_together(tokenizer, rows):
    """A score that slips by one place teaches the student the wrong passage."""
    batch = build(rows, QUESTIONS, tokenizer, config(), "0")
    texts = shown(batch, tokenizer)
    for i, row in enumerate(rows):
        kept = kept_negatives(row)
        assert batch.present[i].tolist() == [slot <= len(kept) for slot in range(batch.present.shape[1])]
        group = [texts[c] for c in batch.group[i, : 1 + len(kept)]]
        assert group == [row["positive"], *(t for t, _ in kept)]
        assert batch.teacher[i, : 1 + len(kept)].tolist() == [row["teacher_reranker"][0],
                                                              *(row["teacher_reranker"][p] for _, p in kept)]


def test_passages_cut_to_the_same_string_are_one(tokenizer):
    """Long passages that differ only beyond max_length are the same to the model: none is another's negative."""
    start = "the same words again and again " * 8
    rows = [triplet("one", start + "first", ["other", start + "second"], scores=[3, 2, 1]),
            triplet("two", start + "third", ["other"], scores=[3, 2])]
    batch = build(rows, QUESTIONS, tokenizer, config(), "0")
    assert len(batch.passages) == 2 and batch.target.tolist() == [0, 0]
    assert batch.group.tolist() == [[0, 1], [0, 1]] and batch.teacher.tolist() == [[3, 2], [3, 2]]


@pytest.mark.parametrize("kind", ["nli", "clustering", "retrieval"])
def test_a_passage_cut_to_the_query_is_no_negative_of_it(tokenizer, kind):
    """Texts with a common opening that fills max_length: the query would be pushed away from itself."""
    start = "the same words again and again " * 8
    rows = [triplet(start + "asked", "near", [start + "found", "far"], scores=[3, 2, 1]),
            triplet("another", start + "there", ["far"], scores=[3, 2])]
    batch = build(rows, {"kind": kind, "instruction": "Find"}, tokenizer, config(max_length=32), "0")
    texts = [batch.texts[n] for n in batch.passages.tolist()]
    itself = texts.index(next(text for text in texts if text.startswith(start)))
    assert batch.present.tolist() == [[True, True], [True, True]] and itself not in batch.group[0].tolist()
    assert not batch.allowed[0, itself] and batch.target[1] == itself


def test_graded_rows_without_negatives(tokenizer):
    """Graded pairs have no negatives and keep their scores; a pair of equal texts is fine."""
    rows = [triplet("a cat", "a cat", label_score=1.0), triplet("a dog", "a hat", label_score=0.25)]
    batch = build(rows, TASKS["graded"], tokenizer, config(), "0")
    assert batch.score.tolist() == [1.0, 0.25] and batch.teacher is None and batch.group.shape == (2, 1)
    assert batch.query[0] == batch.positive[0]  # both sides carry the instruction: one text, encoded once


@pytest.mark.parametrize("task, prompted", [("questions", False), ("inference", True), ("graded", True),
                                            ("intents", False), ("topics", True)])
def test_which_documents_carry_the_instruction(tokenizer, task, prompted):
    """The exported model's prompts follow the same table: a mismatch here is a silent loss of quality there."""
    rows = triplet_rows()[task]
    batch = build(rows, TASKS[task], tokenizer, config(max_length=128), "0")
    prompt = f"Instruct: {TASKS[task]['instruction']}\nQuery: "
    texts = [tokenizer.decode(t[:-1]) for t in batch.tokens]
    assert [texts[n] for n in batch.query.tolist()] == [prompt + row["query"] for row in rows]
    assert [texts[n] for n in batch.positive.tolist()] == [prompt * prompted + row["positive"] for row in rows]
    assert all(t[-1] == tokenizer.eos_token_id for t in batch.tokens)


def test_in_batch_negatives_of_nli_can_be_switched_off(tokenizer):
    """The report has them off for NLI; then each row sees its own group only."""
    rows = triplet_rows()["inference"]
    on, off = (build(rows, TASKS["inference"], tokenizer, config(max_length=128, nli_in_batch=switch), "0")
               for switch in (True, False))
    assert off.allowed.sum() == off.present.sum() and on.allowed.sum() > off.allowed.sum()


def test_soft_labels_switched_off_need_no_scores(tokenizer):
    """Own triplets without a teacher train with soft_label_weight: 0."""
    assert build([triplet("q", "a", ["b"])], QUESTIONS, tokenizer, config(soft_label_weight=0.0), "0").teacher is None


def test_a_batch_is_a_function_of_rows_and_seed(tokenizer):
    """Each process builds it for itself: one that draws other examples would train on other texts."""
    keys = config(max_examples=3, max_length=128)
    one, two = (build(triplet_rows()["questions"], TASKS["questions"], tokenizer, keys, "7") for _ in range(2))
    assert one.tokens == two.tokens and torch.equal(one.query, two.query)
