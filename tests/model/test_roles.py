"""Which prompt a query or a document of a task gets."""

import numpy as np
import pytest
from families import save_family
from sentence_transformers import SentenceTransformer
from small import SENTENCES
from trained import rewrite

import anna_embed
from anna_embed.parsing import RecipeError

PROMPTS = {"query": "Instruct: Find it\nQuery: ", "document": "", "riddles-query": "Instruct: Solve\nQuery: ",
           "sums": "Instruct: Add\nQuery: ", "intents": "Instruct: Which?\nQuery: ", "intents-document": ""}
TEXTS = SENTENCES[:5]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_family(tmp_path_factory.mktemp("roles"), "llama")
    rewrite(folder / "config_sentence_transformers.json", prompts=PROMPTS)
    return anna_embed.load(str(folder))


@pytest.mark.parametrize("ask, prompt", [
    (lambda m: m.encode(TEXTS, task="query"), PROMPTS["query"]),
    (lambda m: m.encode(TEXTS, task="document"), ""),
    (lambda m: m.encode(TEXTS, task="query", prompt=""), ""),
    (lambda m: m.encode(TEXTS, task="query", prompt="x "), "x "),
    (lambda m: m.encode(TEXTS, task="query", instruction="Add"), PROMPTS["sums"]),
    (lambda m: m.encode_query(TEXTS), PROMPTS["query"]),
    (lambda m: m.encode_query(TEXTS, prompt=""), ""),
    (lambda m: m.encode_query(TEXTS, task="riddles"), PROMPTS["riddles-query"]),
    (lambda m: m.encode_query(TEXTS, task="sums"), PROMPTS["sums"]),
    (lambda m: m.encode_document(TEXTS), ""),
    (lambda m: m.encode_document(TEXTS, task="riddles"), ""),
    (lambda m: m.encode_document(TEXTS, task="sums"), PROMPTS["sums"]),
    (lambda m: m.encode_document(TEXTS, task="sums", prompt=None), PROMPTS["sums"]),
    (lambda m: m.encode_query(TEXTS, task="intents"), PROMPTS["intents"]),
    (lambda m: m.encode_document(TEXTS, task="intents"), ""),
])
def test_the_prompt_that_is_asked_for(model, ask, prompt):
    """If this fails, texts are encoded without the prompt that was named, in silence, and found by nobody."""
    np.testing.assert_array_equal(ask(model), model.encode(TEXTS, prompt=prompt))


@pytest.mark.parametrize("side", ["encode_query", "encode_document"])
def test_a_task_that_the_model_does_not_know(model, side):
    """If this fails, a slip in a task's name gives vectors without a prompt."""
    known = "it has them for intents, riddles, sums"
    with pytest.raises(RecipeError, match=f"task: the model has no prompt for 'riddle'; {known}"):
        getattr(model, side)(TEXTS, task="riddle")


def test_the_stock_encode_gets_the_whole_prompt(model, monkeypatch):
    """If this fails, releases of the stock library that do not call `_inference`, and their pools of processes, leave
    out the task, the instruction or the examples in silence."""
    given = []
    monkeypatch.setattr(SentenceTransformer, "encode", lambda self, *args, **options: given.append((args, options)))
    model.encode(TEXTS, task="sums", examples=[("1 and 1", "2")], batch_size=3)
    model.encode_query(TEXTS, instruction="Subtract")
    (args, options), (_, query) = given
    assert args[:2] == (TEXTS, None) and options == {"batch_size": 3, "task": None}
    assert args[2] == "Instruct: Add\nQuery: 1 and 1\nResponse: 2\n\nInstruct: Add\nQuery: "
    assert given[1][0][2] == "Instruct: Subtract\nQuery: " and query["task"] == "query"


def test_calls_that_the_stock_library_takes(model):
    """If this fails, code written for the stock library, or with arguments by place, ends in a TypeError."""
    np.testing.assert_array_equal(model.encode(sentences=TEXTS, prompt="x "), model.encode(TEXTS, None, "x "))
    np.testing.assert_array_equal(model.encode_query(sentences=TEXTS, task="sums"),
                                  model.encode(TEXTS, prompt=PROMPTS["sums"]))
    np.testing.assert_array_equal(model.encode_document(TEXTS, None, "x ", task="sums"),
                                  model.encode(TEXTS, prompt="x "))


def test_examples_in_any_container(model):
    """If this fails, `examples=zip(questions, passages)` gives vectors without examples, in silence."""
    pairs = [("a", "b"), ("c", "d")]
    np.testing.assert_array_equal(model.encode(TEXTS, task="sums", examples=zip("ac", "bd")),
                                  model.encode(TEXTS, task="sums", examples=pairs))
    with pytest.raises(RecipeError, match="give task= or instruction=, not both"):
        model.encode_document(TEXTS, task="sums", instruction="Subtract")


def test_half_a_character(model):
    """Scraped texts hold halves of emoji; the tokenizer would say that its input is no string."""
    with pytest.raises(RecipeError, match="encode: item 1, 'a .ud83d', holds half a character"):
        model.encode(["a", "a \ud83d"])
    with pytest.raises(RecipeError, match="prompt: 'Instruct: i.ud83d.nQuery: ' holds half a character"):
        model.encode("a", instruction="i\ud83d")
    with pytest.raises(RecipeError, match="examples: item 0, .'a.ud83d', 'b'., holds half a character"):
        model.encode("a", instruction="i", examples=[("a\ud83d", "b")])
    with pytest.raises(RecipeError, match="examples: item 0, None, is no pair"):
        model.encode("a", instruction="i", examples=[None])
