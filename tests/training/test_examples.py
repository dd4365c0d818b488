"""Few-shot examples: they never give the answer away and never push the query out."""

import random

import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import SENTENCES, triplet

from anna_embed.config import TrainConfig
from anna_embed.prompts import fitted_prompt, query_prompt, rows_shown
from anna_embed.training.batch import build
from anna_embed.training.examples import draw, groups_of
from anna_embed.training.steps import Steps

TASK = {"kind": "retrieval", "instruction": "Given a question, find the passage that answers it"}
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = st.sampled_from("abcdefgh")


@st.composite
def rows(draw):
    return [triplet(draw(TEXTS), draw(TEXTS), siblings=draw(st.lists(TEXTS, max_size=2)),
                    label=draw(st.none() | st.sampled_from(["x", "y"])),
                    label_score=draw(st.none() | st.sampled_from([0.0, 0.79, 0.8, 1.0])))
            for _ in range(draw(st.integers(1, 12)))]


@SLOW
@given(rows(), st.integers(1, 5), st.integers(0, 6), st.integers(0, 999))
def test_no_example_gives_the_answer_away(rows, size, most, seed):
    """With the answer in its own prompt a query learns to copy, and at inference there is nothing to copy from."""
    groups = groups_of(rows, size)
    assert sorted(i for group in groups for i in group) == list(range(len(rows)))
    for group in groups:
        drawn = draw(rows, group, most, random.Random(seed))
        assert len(drawn) <= most
        for query, response in drawn:
            for i in group:
                assert query not in (rows[i]["query"], rows[i]["positive"])
                origin = [r for r in rows if r["query"] == query and response == (r["label"] or r["positive"])
                          and (r["label_score"] is None or r["label_score"] >= 0.8)
                          and r["positive"] not in (rows[i]["query"], rows[i]["positive"])
                          and r["positive_id"] not in rows[i]["sibling_positive_ids"]]
                assert origin, (query, response, rows[i])


def test_how_many():
    """From none to `most`, each number as often as any other: the model must work with and without examples."""
    rows = [triplet(f"q{n}", f"p{n}") for n in range(30)]
    counts = [len(draw(rows, [0], 3, random.Random(seed))) for seed in range(400)]
    assert all(70 < counts.count(n) < 130 for n in range(4))
    assert draw(rows, [0], 0, random.Random(1)) == [] and draw(rows[:1], [0], 5, random.Random(3)) == []


def test_few_labels_leave_examples():
    """With two labels every group has both: a task like that would never see an example in training; and with ten
    only labels that are wrong would be shown, which tells what the right one is not."""
    rows = [triplet(f"text {n}", "xy"[n % 2]) for n in range(40)]
    drawn = [draw(rows, list(range(8)), 3, random.Random(seed), kind="classification") for seed in range(200)]
    assert {len(some) for some in drawn} == {0, 1, 2, 3}
    assert {label for some in drawn for _, label in some} == {"x", "y"}
    assert not {query for some in drawn for query, _ in some} & {row["query"] for row in rows[:8]}


def test_clustering_shows_the_category():
    """For clustering the category's name is the response, for graded pairs only similar ones are shown."""
    rows = [triplet("q", "p"), triplet("text", "another text", label="astronomy")]
    drawn = [draw(rows, [0], 1, random.Random(seed)) for seed in range(20)]
    assert [("text", "astronomy")] in drawn and [("text", "another text")] not in drawn
    low = [triplet("q", "p", label_score=1.0), triplet("r", "s", label_score=0.79)]
    assert all(draw(low, [0], 5, random.Random(seed)) == [] for seed in range(20))


@SLOW
@given(rows(), rows(), st.integers(1, 5))
def test_no_fixed_example_gives_the_answer_away(rows, shown, size):
    """If this fails, the rows that are shown to all learn to copy from their own prompts."""
    for group in groups_of(rows, size):
        answers = {rows[i][side] for i in group for side in ("query", "positive")}
        siblings = {name for i in group for name in rows[i]["sibling_positive_ids"]}
        right = [(r["query"], r["label"] or r["positive"]) for r in shown
                 if not {r["query"], r["positive"]} & answers and r["positive_id"] not in siblings
                 and (r["label_score"] is None or r["label_score"] >= 0.8)]
        assert draw(rows, group, 5, random.Random(0), shown) == right


def test_fixed_examples_are_those_that_an_export_stores(tokenizer):
    """If this fails, a model learns under other examples than the prompts that it is published with."""
    rows = [triplet(f"why {n}", f"because {n}", scores=[1.0]) for n in range(40)]
    keys = {"max_examples": 2, "max_length": 64, "prompt_max_length": 500, "example_group_size": 4,
            "retrieval_batch_size": 8}
    steps = {fixed: Steps(TrainConfig(artifacts="unused", fixed_examples=fixed, **keys), {"why": TASK},
                          {"why": Dataset.from_list(rows)}, tokenizer, 7) for fixed in (True, False)}
    stored = fitted_prompt(tokenizer, TASK["instruction"],
                           [(row["query"], row["positive"]) for row in rows_shown(rows, "why", 2, 7)], 256, 436)
    prompts = {fixed: set() for fixed in steps}
    for fixed, some in steps.items():
        for step in range(some.per_epoch):
            batch = some.build(step)[1]
            prompts[fixed] |= {tokenizer.decode(batch.tokens[n]).rpartition("why")[0] for n in batch.query.tolist()}
    assert len(prompts[False]) > 5
    assert stored.count("Response") == 2 and max(prompts[True], key=len).endswith(stored)
    assert all(prompt.count("Response") == 2 for prompt in prompts[True] if prompt.endswith(stored))
    assert len(prompts[True]) <= 3  # and without one or the other, where a row of the group is an example


def test_a_response_is_shown_once_unless_it_is_a_label():
    """If this fails, a task of few passages fills the prompt of every query with one passage three times."""
    passages = [triplet(f"query {n}", f"passage {n // 4}") for n in range(8)]
    assert len(rows_shown(passages, "why", 3, 7)) == 2
    labelled = [triplet(f"query {n}", f"text {n}", label="yes" if n % 2 else "no") for n in range(8)]
    assert [row["label"] for row in rows_shown(labelled, "why", 3, 7)][:2] in (["yes", "no"], ["no", "yes"])
    assert len(rows_shown(labelled, "why", 3, 7)) == 3


def test_sides_are_cut(tokenizer):
    """A long passage in an example is cut to its share, at a token's end, not dropped."""
    long = " ".join(SENTENCES)
    prompt = fitted_prompt(tokenizer, TASK["instruction"], [(long, long)], 5, 400)
    assert prompt.endswith("\n\n" + query_prompt(TASK["instruction"]))
    query, response = prompt.split("\n\n")[0].removeprefix(query_prompt(TASK["instruction"])).split("\nResponse: ")
    assert query == response and long.startswith(query) and len(tokenizer(query)["input_ids"]) == 5 + 1  # and EOS


@SLOW
@given(st.lists(st.lists(st.sampled_from(" ".join(SENTENCES).split()), min_size=1, max_size=40).map(" ".join),
                min_size=6, max_size=12),
       st.integers(40, 64), st.integers(1, 160), st.integers(1, 40), st.integers(0, 99))
def test_no_query_loses_its_end(tokenizer, texts, max_length, more, each, seed):
    """Where examples, instruction and query exceed the limit, examples go; what is left is never cut a second time.

    The second cut would take the end of the query, which no test of shapes shows: EOS still comes last.
    """
    rows = [triplet(texts[n], texts[n + 1], scores=[1.0]) for n in range(0, len(texts) - 1, 2)]
    keys = {"max_examples": 5, "example_max_length": each, "example_group_size": 2, "max_length": max_length,
            "prompt_max_length": max_length + more}
    batch = build(rows, TASK, tokenizer, TrainConfig(artifacts="unused", **keys), str(seed))
    plain = build(rows, TASK, tokenizer, TrainConfig(artifacts="unused", **keys | {"max_examples": 0}), str(seed))
    for with_examples, without in zip(batch.query.tolist(), plain.query.tolist()):
        assert len(batch.tokens[with_examples]) <= max_length + more
        assert tokenizer.decode(batch.tokens[with_examples]).endswith(tokenizer.decode(plain.tokens[without]))


@pytest.mark.parametrize("size", [2, 3, 6, 31, 33])
def test_small_batches_have_examples_too(tokenizer, size):
    """If this fails, a batch that is no larger than a group of queries is shown no example, ever: every small dataset
    trains a model that has never seen one."""
    rows = [triplet(f"why {n}", f"because {n}", scores=[1.0]) for n in range(size)]
    counts = set()
    for seed in range(12):
        batch = build(rows, TASK, tokenizer, TrainConfig(artifacts="unused", max_examples=2), str(seed))
        counts |= {tokenizer.decode(batch.tokens[n]).count("Response") for n in batch.query.tolist()}
    assert max(counts) == min(2, size - size // 2)


def test_texts_equal_up_to_the_cut_are_one(tokenizer):
    """If this fails, an example's response is the very text that the model has to find: long pages begin alike."""
    page = " ".join(SENTENCES)
    rows = [triplet("why a", f"{page} a", scores=[1.0]), triplet("why b", f"{page} b", scores=[1.0])]
    keys = {"max_examples": 1, "max_length": 40, "example_max_length": 40}
    for seed in range(6):
        batch = build(rows, TASK, tokenizer, TrainConfig(artifacts="unused", **keys), str(seed))
        assert "Response" not in tokenizer.decode(batch.tokens[batch.query[0]])
    config = TrainConfig(artifacts="unused", fixed_examples=True, **keys)
    batch = build(rows[:1], TASK, tokenizer, config, "1", rows[1:])
    assert "Response" not in tokenizer.decode(batch.tokens[batch.query[0]])


def test_the_limit_to_the_token(tokenizer):
    """With queries that use their whole share nothing is lost at any limit, and at some limit nothing is left over."""
    rows = [triplet(" ".join(SENTENCES[n:]), f"because {n}", scores=[1.0]) for n in range(6)]
    keys = {"max_examples": 2, "example_max_length": 6, "example_group_size": 6, "max_length": 64}
    rows += [triplet(f"why {n}", f"so {n}", scores=[1.0]) for n in range(6)]
    full = 0
    for limit in range(65, 140):
        batch = build(rows, TASK, tokenizer, TrainConfig(artifacts="unused", prompt_max_length=limit, **keys), "3")
        plain = build(rows, TASK, tokenizer, TrainConfig(artifacts="unused", **keys | {"max_examples": 0}), "3")
        for n in range(6):
            tokens, alone = batch.tokens[batch.query[n]], plain.tokens[plain.query[n]]
            assert len(alone) == 64 and tokenizer.decode(tokens).endswith(tokenizer.decode(alone))
            full += len(tokens) == limit > 64
    assert full


def test_examples_fill_what_the_limit_leaves(tokenizer):
    """The limit binds late: five short examples fit where they should."""
    rows = [triplet(f"why {n}", f"because {n}", scores=[1.0]) for n in range(40)]
    keys = {"max_examples": 5, "max_length": 64, "prompt_max_length": 500, "example_group_size": 4}
    batch = build(rows, TASK, tokenizer, TrainConfig(artifacts="unused", **keys), "5")
    shown = [tokenizer.decode(batch.tokens[n]).count("Response") for n in batch.query.tolist()]
    assert max(shown) == 5 and min(shown) < 2
    assert all(len(set(shown[g: g + 4])) == 1 for g in range(0, 40, 4))  # a group shares one prefix
