"""EOS is the last token of every text, whatever is in it and however long it is; its state is the embedding."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama2_style import save_bos_tokenizer
from small import SENTENCES, small_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, LlamaConfig, Qwen3Config

from anna_embed.parsing import RecipeError
from anna_embed.prompts import as_example, few_shot_prompt, fitted_prompt, query_prompt, rows_shown
from anna_embed.tokens import cut_to_fit, load_tokenizer, tokenize

LIMIT = 24
TEXTS = [*SENTENCES[:3], "", "a", " lead", "trail ", "two  spaces\n\nlines", "\u200d🙂👩‍👩‍👧", "日本語のテキスト",
         "</s> and <|endoftext|>", " ".join(SENTENCES)]


@pytest.fixture(scope="module", params=["without BOS", "with BOS"])
def both(request, tiny_model, tmp_path_factory):
    """Each test runs for both families of tokenizers."""
    folder = tiny_model
    if request.param == "with BOS":
        folder = tmp_path_factory.mktemp("llama2")
        save_bos_tokenizer(folder)
    return load_tokenizer(str(folder), LIMIT)


def test_eos_ends_every_text(both):
    """If this fails, a long text's vector is the state of some word, and BOS is lost where the model expects it."""
    ids = tokenize(both, TEXTS, LIMIT)
    assert all(row[-1] == both.eos_token_id and len(row) <= LIMIT for row in ids)
    assert len(ids[-1]) == LIMIT and len(ids[TEXTS.index("")]) == both.num_special_tokens_to_add()
    starts = {row[0] == both.bos_token_id for row in ids}
    assert starts == {both.bos_token_id is not None} and both.num_special_tokens_to_add() == 1 + starts.pop()


def test_it_is_saved_with_the_tokenizer(both, tmp_path):
    """If this fails, the adapter's own tokenizer gives other ids than the one it was trained with."""
    both.save_pretrained(tmp_path)
    assert tokenize(load_tokenizer(str(tmp_path), LIMIT), TEXTS, LIMIT) == tokenize(both, TEXTS, LIMIT)


def test_what_the_model_wants_in_front_stays(tiny_model, tmp_path):
    """If this fails, a model with two tokens in front of every text (GLM's) never sees them again."""
    tokenizer = small_tokenizer()
    first, second = "a", "b"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{first} {second} $A", special_tokens=[(t, tokenizer.convert_tokens_to_ids(t)) for t in "ab"])
    tokenizer.save_pretrained(tmp_path)
    expected = tokenizer("the sun")["input_ids"] + [tokenizer.eos_token_id]
    assert len(expected) == 3 + len(tokenizer("the sun", add_special_tokens=False)["input_ids"])
    assert load_tokenizer(str(tmp_path), LIMIT)("the sun")["input_ids"] == expected


def test_padding_is_told_apart_from_text(both):
    """If this fails, a batch cannot be padded, or the vocabulary grows by a token that the model does not have."""
    batch = both(TEXTS, padding=True, truncation=True, max_length=LIMIT, return_tensors="pt")
    assert batch["attention_mask"].sum(1).tolist() == [len(row) for row in tokenize(both, TEXTS, LIMIT)]
    assert both.pad_token in (both.unk_token, both.eos_token) and both.chat_template is None


def test_a_model_without_eos(tmp_path):
    """If this fails, a model without EOS trains on the state of the last word."""
    tokenizer = small_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match=f"model_name_or_path: the tokenizer of '{tmp_path}' has no EOS token"):
        load_tokenizer(str(tmp_path), LIMIT)


def test_long_texts_keep_their_prompt(tmp_path):
    """If this fails, models made of a base that cuts on the left lose the instruction of every long text."""
    tokenizer = small_tokenizer()
    tokenizer.truncation_side = "left"
    tokenizer.save_pretrained(tmp_path / "base")
    load_tokenizer(str(tmp_path / "base"), LIMIT).save_pretrained(tmp_path / "exported")
    for name in ("base", "exported"):
        tokenizer = load_tokenizer(str(tmp_path / name), LIMIT) if name == "base" else AutoTokenizer.from_pretrained(
            tmp_path / name)
        assert tokenizer.decode(tokenizer("first words " * 40, truncation=True)["input_ids"]).startswith("first words")


def test_a_model_without_a_tokenizer(tmp_path):
    """If this fails, a folder that lacks the tokenizer's files is trained with one that knows no words, in silence."""
    Qwen3Config().save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match=f"model_name_or_path: '{tmp_path}' has no tokenizer, and one that was made"):
        load_tokenizer(str(tmp_path), LIMIT)
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match=f"model_name_or_path: the tokenizer of '{tmp_path}' cannot be read"):
        load_tokenizer(str(tmp_path), LIMIT)


WORDS = st.lists(st.one_of(st.sampled_from(" ".join(SENTENCES).split()), st.text(max_size=6)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(words=WORDS, prompt=st.sampled_from(["", "Instruct: find it\nQuery: "]), limit=st.integers(30, 60))
def test_cut_texts_fit(both, words, prompt, limit):
    """If this fails, a text behind few-shot examples is cut a second time, by the library, and loses its end."""
    text = " ".join(words)
    (cut,) = cut_to_fit(both, prompt, [text], limit)
    assert text.startswith(cut)
    assert len(tokenize(both, [prompt + cut], 10**5)[0]) <= limit
    whole = tokenize(both, [prompt + text], 10**5)[0]
    if len(whole) <= limit:
        assert cut == text
    elif text.isascii():  # as much as fits; a cut inside a word may make more tokens of what is left of it
        assert len(tokenize(both, [prompt + cut], 10**5)[0]) >= limit - 4


def test_a_prompt_that_fills_all(both):
    """If this fails, a very long instruction hangs the run instead of leaving no room for the text."""
    assert cut_to_fit(both, "word " * LIMIT, ["a text", ""], LIMIT) == ["", ""]
    assert cut_to_fit(both, "", [], LIMIT) == []


# ---- prompts -------------------------------------------------------------------------------------------------------

def test_format():
    """If this fails, prompts are not those of the report, and a stock prompt is another string than training's."""
    assert query_prompt("") == "" and query_prompt("Find it") == "Instruct: Find it\nQuery: "
    assert few_shot_prompt("Find it", [("a", "b"), ("c", "d")]) == (
        "Instruct: Find it\nQuery: a\nResponse: b\n\nInstruct: Find it\nQuery: c\nResponse: d\n\n"
        "Instruct: Find it\nQuery: ")


@pytest.mark.parametrize("label, score, response", [(None, None, "positive"), ("sports", None, "sports"),
                                                    (None, 0.8, "positive"), (None, 0.79, None)])
def test_what_serves_as_an_example(label, score, response):
    """If this fails, an example shows two unlike sentences as alike, or hides the category it should show."""
    row = {"query": "query", "positive": "positive", "label": label, "label_score": score}
    assert as_example(row) == (response and ("query", response))


def test_rows_that_are_shown():
    """If this fails, two of a prompt's few examples say the same, or an export depends on more than its seed."""
    def row(query, label=None, score=None):
        return {"query": query, "positive": f"answer to {query}", "label": label, "label_score": score}

    rows = [row("a", "x"), row("a", "y"), row("b", "x"), row("c", "x"), row("d", "y"), row("e", score=0.1)]
    for seed in range(20):
        shown = rows_shown(rows, "task", 3, seed)
        assert len({r["query"] for r in shown}) == 3 and {r["label"] for r in shown[:2]} == {"x", "y"}
        assert shown == rows_shown(rows, "task", 3, seed)
    assert len({str(rows_shown(rows, "task", 3, seed)) for seed in range(20)}) > 3
    assert len(rows_shown(rows, "task", 9, 0)) == 4 and rows_shown([], "task", 3, 0) == []


@pytest.mark.parametrize("room, kept", [(0, 0), (60, 1), (115, 2), (1000, 3)])
def test_examples_are_cut_and_left_out_to_fit(both, room, kept):
    """If this fails, examples push the query out of the model's limit."""
    def size(text):
        return len(both(text, add_special_tokens=False)["input_ids"])

    examples = [(SENTENCES[n], " ".join(SENTENCES[n + 1:])) for n in range(3)]
    prompt = fitted_prompt(both, "Find it", examples, 12, room)
    assert prompt.count("Response: ") == kept and prompt.endswith(query_prompt("Find it"))
    assert size(prompt) - size(query_prompt("Find it")) <= room
    for side in prompt.replace("\n\n", "\n").split("\n"):
        assert size(side.partition(": ")[2]) <= 12 + 1  # alone, a side may begin with a space of its own
