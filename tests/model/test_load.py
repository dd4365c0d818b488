"""`anna_embed.load` is the stock library's model, only faster: the same token ids, vectors and options."""

import copy
import pickle
import shutil
from pathlib import Path

import mteb
import numpy as np
import pytest
import torch
from datasets import Dataset
from families import EXAMPLES, FAMILIES, INSTRUCTION, LIMIT, save_family, texts_of_every_length
from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
from mteb.types import PromptType
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from small import SENTENCES
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

import anna_embed
from anna_embed.engine import embed
from anna_embed.model.encode import lay_out_untrained, load_encoder
from anna_embed.parsing import RecipeError
from anna_embed.precision import is_slow
from anna_embed.prompts import few_shot_prompt, query_prompt
from anna_embed.tokens import load_tokenizer, tokenize
from trained import rewrite

PROMPTS = {"none": "", "instruction": query_prompt(INSTRUCTION), "examples": few_shot_prompt(INSTRUCTION, EXAMPLES)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each family."""
    return {family: save_family(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(scope="module")
def model(folders):
    return anna_embed.load(str(folders["llama"]), prompts={"query": PROMPTS["instruction"], "document": "",
                                                           "riddles-query": PROMPTS["examples"]})


@pytest.fixture(scope="module")
def stock(folders, model):
    return SentenceTransformer(str(folders["llama"]), prompts=model.prompts)


def sizes(model):
    """Tokens of each forward pass from now on."""
    seen = []
    model.transformers_model.embed_tokens.register_forward_hook(lambda _, args, out: seen.append(args[0].numel()))
    return seen


# ---- one vector everywhere --------------------------------------------------------------------------------------


def by_hand(folder, texts):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    vectors, order = {}, sorted(range(len(texts)), key=lambda n: len(texts[n]))
    for some in (order[first: first + 16] for first in range(0, len(order), 16)):
        batch = tokenizer([texts[n] for n in some], padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            states = model(**batch).last_hidden_state
        last = states[torch.arange(len(some)), batch["attention_mask"].sum(1) - 1]
        vectors |= zip(some, torch.nn.functional.normalize(last, dim=1))
    return torch.stack([vectors[n] for n in range(len(texts))])


def by_trainer(folder, texts):
    tokenizer, model = load_tokenizer(folder.parent / "base", LIMIT), AutoModel.from_pretrained(folder)
    with torch.no_grad():
        return embed(model, tokenize(tokenizer, texts, LIMIT), 1000)


def by_mteb(model, texts, prompt):
    model.prompts = {"query": prompt, "document": ""}
    task = mteb.get_task("SciFact").metadata
    batches = DataLoader(Dataset.from_dict({"text": texts}), batch_size=16)
    return SentenceTransformerEncoderWrapper(model).encode(
        batches, task_metadata=task, hf_split="test", hf_subset="default", prompt_type=PromptType.query, batch_size=8,
        show_progress_bar=False)


@pytest.mark.parametrize("number", [30, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_one_vector_everywhere(folders, family, prompt, number):
    """If this fails, what people search with depends on how they load the model."""
    folder, prompt, texts = folders[family], PROMPTS[prompt], texts_of_every_length(number)
    prompted = [prompt + text for text in texts]
    ours, stock = anna_embed.load(str(folder)), SentenceTransformer(str(folder))
    ours.max_seq_length = stock.max_seq_length = LIMIT
    ids = stock.tokenizer(prompted, truncation=True, max_length=LIMIT)["input_ids"]
    assert [tokens.tolist() for tokens in ours._token_lists(texts, prompt)] == ids
    assert ids == tokenize(load_tokenizer(folder.parent / "base", LIMIT), prompted, LIMIT)
    assert max(map(len, ids)) == LIMIT and all(tokens[-1] == stock.tokenizer.eos_token_id for tokens in ids)
    vectors = ours.encode(texts, prompt=prompt)
    rewrite(folder / "tokenizer_config.json", model_max_length=LIMIT)
    for other in (stock.encode(texts, prompt=prompt, batch_size=8), by_hand(folder, prompted),
                  by_trainer(folder, prompted), by_mteb(ours, texts, prompt), by_mteb(stock, texts, prompt),
                  ours.encode(texts, prompt=prompt, batch_size=1), ours.encode_query(texts)):
        np.testing.assert_allclose(vectors, np.asarray(other), atol=1e-5)


def test_models_that_cannot_be_packed_are_padded(folders, tmp_path):
    """If this fails, a bidirectional model gets vectors that depend on its neighbours in the row."""
    shutil.copytree(folders["llama"], tmp_path / "model", symlinks=False)
    rewrite(tmp_path / "model" / "config.json", is_causal=False)
    ours, stock = anna_embed.load(str(tmp_path / "model")), SentenceTransformer(str(tmp_path / "model"))
    texts = texts_of_every_length(16)
    np.testing.assert_allclose(ours.encode(texts, prompt=PROMPTS["examples"]),
                               stock.encode(texts, prompt=PROMPTS["examples"]), atol=1e-5)


# ---- stock options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    {"convert_to_tensor": True}, {"convert_to_numpy": False}, {"truncate_dim": 8}, {"prompt_name": "query"},
    {"truncate_dim": 8, "normalize_embeddings": True}, {"precision": "int8"}, {"precision": "ubinary"},
    {"batch_size": 3, "show_progress_bar": True}, {"processing_kwargs": {"text": {"max_length": 9}}},
    {"output_value": "token_embeddings"}, {"output_value": None, "prompt": "Read: "}, {"device": "cpu"},
], ids=str)
def test_options_are_those_of_the_stock_library(model, stock, options):
    """If this fails, code that was written for the stock library breaks, or gets something else, with our model."""
    texts = [*SENTENCES[:6], "", "a", SENTENCES[0]]
    ours, theirs = model.encode(texts, **options), stock.encode(texts, **options)
    assert type(ours) is type(theirs) and len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        if isinstance(one, dict):
            one, other = one["sentence_embedding"], other["sentence_embedding"]
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1 if options.get("precision") else 1e-5)


@pytest.mark.parametrize("inputs", ["one text", np.array(["b", "a", "b"]), ("b", "a"), Dataset.from_dict(
    {"text": ["b", "a"]})["text"]], ids=lambda inputs: type(inputs).__name__)
def test_inputs_are_those_of_the_stock_library(model, stock, inputs):
    """If this fails, a single string, an array or a column of a dataset is refused or comes out in another shape."""
    np.testing.assert_allclose(model.encode(inputs), stock.encode(inputs), atol=1e-5)
    np.testing.assert_allclose(model.encode_document(inputs), stock.encode_document(inputs), atol=1e-5)


def test_nothing_to_encode(model, stock):
    """If this fails, an empty list ends in a traceback."""
    assert model.encode([]).shape == stock.encode([]).shape
    assert model.encode([], convert_to_tensor=True).shape == stock.encode([], convert_to_tensor=True).shape


def test_saved_copied_and_pickled(model, stock, tmp_path):
    """If this fails, a model that went through our loader can no longer be loaded by the stock library."""
    model.save_pretrained(str(tmp_path))
    for other in (SentenceTransformer(str(tmp_path)), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_allclose(other.encode_query(SENTENCES), stock.encode_query(SENTENCES), atol=1e-5)


def test_an_adapter_that_is_added_counts(folders):
    """If this fails, the states of a prompt from before stand in front of texts of the adapted model."""
    ours, stock = anna_embed.load(str(folders["llama"])), SentenceTransformer(str(folders["llama"]))
    before = ours.encode(SENTENCES, prompt=PROMPTS["examples"])
    for each in (ours, stock):
        torch.manual_seed(1)
        each.add_adapter(LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    vectors = ours.encode(SENTENCES, prompt=PROMPTS["examples"])
    np.testing.assert_allclose(vectors, stock.encode(SENTENCES, prompt=PROMPTS["examples"]), atol=1e-5)
    assert np.abs(vectors - before).max() > 0.01


@pytest.mark.slow
def test_a_pool_of_processes(model, stock):
    """If this fails, several devices cannot share the work."""
    texts = texts_of_every_length(40)
    ours = model.encode(texts, prompt=PROMPTS["examples"], device=["cpu", "cpu"], chunk_size=16)
    np.testing.assert_allclose(ours, stock.encode(texts, prompt=PROMPTS["examples"]), atol=1e-5)


# ---- examples and instructions ----------------------------------------------------------------------------------


def test_examples_and_instructions(model):
    """If this fails, examples are put in front of texts in another form than the model was trained with."""
    texts = texts_of_every_length(20)
    expected = {name: model.encode(texts, prompt=prompt) for name, prompt in PROMPTS.items()}
    for name, options in [
        ("instruction", {"instruction": INSTRUCTION}), ("instruction", {"prompt": "x", "instruction": INSTRUCTION}),
        ("none", {"instruction": ""}), ("examples", {"task": "riddles"}), ("none", {"task": "document"}),
        ("examples", {"task": "riddles", "examples": EXAMPLES}), ("examples", {"prompt_name": "query",
                                                                               "examples": EXAMPLES}),
        ("examples", {"instruction": INSTRUCTION, "examples": [list(pair) for pair in EXAMPLES]}),
    ]:
        np.testing.assert_array_equal(model.encode(texts, **options), expected[name], err_msg=str(options))
    np.testing.assert_array_equal(model.encode_query(texts, examples=EXAMPLES), expected["examples"])


def test_long_examples_are_cut_as_in_training(model):
    """If this fails, one long passage fills the limit, and every text behind it is cut away."""
    long = " ".join(SENTENCES)
    seen = sizes(model)
    model.encode("a", instruction=INSTRUCTION, examples=[(long, "short")])
    assert len(model.tokenizer(long)["input_ids"]) > 512 and max(seen) < 256 + 60


# ---- each token once --------------------------------------------------------------------------------------------


def test_each_distinct_token_is_read_once(folders):
    """If this fails, the engine is not used, and all that is gained is lost without a word."""
    ours = anna_embed.load(str(folders["llama"]))
    prompt, texts = PROMPTS["examples"], [f"{n}" for n in range(1000)] * 2
    own = len(ours.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    seen = sizes(ours)
    ours.encode(texts, prompt=prompt)
    first, seen[:] = sum(seen), []
    ours.encode(texts, prompt=prompt)
    assert sum(seen) <= 1000 * 4 and first - sum(seen) == own + 1  # the prompt with its EOS, the first time only
    assert max(seen) <= 32 * 32


def test_work_and_memory_grow_with_the_texts_alone(folders, monkeypatch):
    """If this fails, ten thousand texts are tokenised at once, or a long list takes more than its share of time."""
    ours = anna_embed.load(str(folders["llama"]))
    chunks, seen, read = [], sizes(ours), ours.preprocess
    monkeypatch.setattr(ours, "preprocess", lambda texts, **options: chunks.append(texts) or read(texts, **options))
    ours.encode([f"{n} {SENTENCES[n % 7][:9]}" for n in range(1500)], batch_size=64)
    assert max(map(len, chunks)) <= 1024 and max(seen) <= 64 * 32
    chunks.clear()
    ours.encode([f"{n} {' '.join(SENTENCES[:4])}" for n in range(120)], batch_size=4)
    assert max(sum(map(len, chunk)) for chunk in chunks) <= 32 * 4 * 32 * 4  # rows, tokens, characters


# ---- what is wrong is one sentence ------------------------------------------------------------------------------


@pytest.mark.parametrize("ask, sentence", [
    (lambda m: m.encode(["a", 5]), "encode: item 1 is of type int, not a string"),
    (lambda m: m.encode([("a", "b")]), "encode: item 0 is of type tuple, not a string"),
    (lambda m: m.encode("a", prompt_name="quer"), r"'quer' not found .* \['query', 'document', 'riddles-query'\]"),
    (lambda m: m.encode("a", prompt=" ".join(SENTENCES * 3)), "prompt: it has .* tokens, and the model reads 1024"),
    (lambda m: m.encode("a", prompt=3), "prompt: 3 is not of type str"),
    (lambda m: m.encode("a", instruction=3), "instruction: 3 is not of type str"),
    (lambda m: m.encode("a", task="sums"), "task: the model has no prompt for 'sums'; it has them for riddles"),
    (lambda m: m.encode("a", task="riddles", instruction="i"), "task: 'riddles' has an instruction of its own"),
    (lambda m: m.encode("a", examples=[("a", "b")]), "prompt: '' does not end with 'Instruct"),
    (lambda m: m.encode("a", prompt="query: ", examples=[("a", "b")]), "prompt: 'query: ' does not end with"),
    (lambda m: m.encode("a", instruction="i", examples=["ab"]), "examples: item 0, 'ab', is no pair"),
    (lambda m: m.encode("a", instruction="i", examples=[("a", None)]), "examples: item 0, .* is no pair"),
])
def test_wrong_calls(model, ask, sentence):
    """If this fails, a slip in a call ends in a traceback of a tokenizer, or silently in other vectors."""
    with pytest.raises(ValueError, match=sentence):
        ask(model)


def spoil_config(folder):
    (folder / "config.json").write_text("{")


def spoil_pooling(folder):
    rewrite(folder / "1_Pooling" / "config.json", pooling_mode_lasttoken=False, pooling_mode_mean_tokens=True)


def spoil_weights(folder):
    (folder / "model.safetensors").write_bytes(b"none")


def lose_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["layers.1.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("spoil, sentence", [
    (spoil_config, "cannot be loaded .*not a valid JSON"), (spoil_pooling, r"last token's state \(pooling: mean\)"),
    (spoil_weights, "cannot be loaded .*header"), (shutil.rmtree, "cannot be loaded .* not found"),
    (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded .*no file named model.safetensors"),
    (lambda folder: (folder / "1_Pooling" / "config.json").unlink(), "cannot be loaded .*Pooling.*; fetch it again"),
    (lose_a_weight, "lacks the weights layers.1.mlp.down_proj.weight, which would be drawn at random; fetch it again"),
], ids=["config", "pooling", "weights", "nothing", "no weights", "no pooling", "a weight less"])
def test_what_is_no_model(folders, tmp_path, spoil, sentence):
    """If this fails, a wrong path or a broken download ends in a traceback, or a model that pools otherwise gives
    vectors of last tokens that mean nothing, or one that was drawn in part gives others every time."""
    shutil.copytree(folders["llama"], tmp_path / "model")
    spoil(tmp_path / "model")
    with pytest.raises(RecipeError, match=f"model: '{tmp_path}/model' .*{sentence}"):
        anna_embed.load(str(tmp_path / "model"))


def test_an_adapter_without_its_base(tmp_path):
    """If this fails, who has an adapter alone reads of the Hub, and not of the model that is missing."""
    LoraConfig(base_model_name_or_path=str(tmp_path / "base")).save_pretrained(tmp_path / "adapter")
    with pytest.raises(RecipeError, match=f"it is an adapter, whose base '{tmp_path}/base' must be within reach"):
        anna_embed.load(str(tmp_path / "adapter"))


@pytest.mark.parametrize("device", ["foo", "cuda:9"])
def test_a_device_that_is_not_there(folders, device):
    """If this fails, one looks for what is wrong with the model."""
    with pytest.raises(RecipeError, match=f"device: this machine has no '{device}'; write cpu or cuda:0"):
        anna_embed.load(str(folders["llama"]), device=device)


def test_weights_that_are_no_numbers(folders, tmp_path):
    """If this fails, a corpus is filled with NaN, and every search finds its first document."""
    shutil.copytree(folders["llama"], tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    save_file({name: w * float("nan") if "layers.1" in name else w for name, w in weights.items()},
              tmp_path / "model" / "model.safetensors")
    broken = anna_embed.load(str(tmp_path / "model"))
    with pytest.raises(RecipeError, match=f"model: '{tmp_path}/model' gives vectors that are not finite"):
        broken.encode("a")


def test_a_text_without_tokens(folders, tmp_path):
    """If this fails, an empty text in a model that was not exported by us stops everything with a shape error."""
    shutil.copytree(folders["llama"], tmp_path / "model")
    rewrite(tmp_path / "model" / "tokenizer.json", post_processor=None)
    bare = anna_embed.load(str(tmp_path / "model"))
    assert bare.encode(["a"]).shape == (1, 32)
    with pytest.raises(RecipeError, match="encode: the text '' has no tokens"):
        bare.encode(["a", ""])


# ---- where it is used -------------------------------------------------------------------------------------------


def test_static_embeddings_are_benchmarked_too(tmp_path):
    """If this fails, a popular kind of SentenceTransformer ends in a traceback: it has no tokenizer of transformers
    and no limit."""
    words = Tokenizer(WordLevel({"[UNK]": 0, "tea": 1, "can": 2, "be": 3, "grown": 4}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    model = SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=8)], device="cpu")
    model.save(str(tmp_path / "static"))
    vectors = load_encoder(str(tmp_path / "static"), 16, 4, "float32")(["tea can be grown", "tea", "tea"], "")
    np.testing.assert_allclose(vectors, model.encode(["tea can be grown", "tea", "tea"], normalize_embeddings=True),
                               atol=1e-6)


def test_the_benchmark_says_what_is_no_model(folders, tmp_path):
    """If this fails, a broken download is a traceback after the corpus was read."""
    shutil.copytree(folders["llama"], tmp_path / "model")
    spoil_weights(tmp_path / "model")
    with pytest.raises(RecipeError, match="model: '.*' cannot be loaded"):
        load_encoder(str(tmp_path / "model"), 16, 4, "float32")


def test_the_benchmark_encodes_with_it(folders, monkeypatch):
    """If this fails, the model that is scored is not the one that people load, or other models cannot be scored."""
    stock, texts = SentenceTransformer(str(folders["qwen3"])), [*SENTENCES, SENTENCES[0]]
    used = []
    monkeypatch.setattr(anna_embed.model.load.Embedder, "_vectors", lambda *_: used.append(1) or torch.ones(24, 2))
    load_encoder(str(folders["qwen3"]), LIMIT, 8, "float32")(texts, "")
    assert used
    monkeypatch.undo()
    encode = load_encoder(str(folders["qwen3"]), LIMIT, 8, "float32")
    np.testing.assert_allclose(encode(texts, PROMPTS["examples"]),
                               stock.encode(texts, prompt=PROMPTS["examples"]), atol=1e-5)
    assert encode(texts, "").dtype == np.float32


SMOLLM2 = Path(__file__).parents[2] / "artifacts" / "mirror" / "models" / "HuggingFaceTB" / "SmolLM2-135M-Instruct"


@pytest.mark.slow
@pytest.mark.skipif(not SMOLLM2.is_dir(), reason="needs the mirror that `make quickstart` builds")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_real_model(tmp_path, dtype):
    """If this fails, on real weights the engine is less exact than the stock library's own batches are."""
    if is_slow(dtype, "cpu"):
        pytest.skip("this CPU has no instructions for bfloat16: it would take a quarter of an hour")
    lay_out_untrained(str(SMOLLM2), tmp_path)
    ours, stock = (loader(str(tmp_path), model_kwargs={"dtype": dtype}, device="cpu")
                   for loader in (anna_embed.load, SentenceTransformer))
    texts = texts_of_every_length(14)
    for prompt in PROMPTS.values():
        assert [tokens.tolist() for tokens in ours._token_lists(texts, prompt)] == stock.tokenizer(
            [prompt + text for text in texts], truncation=True, max_length=stock.max_seq_length)["input_ids"]
        exact = stock.float().encode(texts, prompt=prompt, batch_size=1)
        stock.to(getattr(torch, dtype))
        single = exact if dtype == "bfloat16" else stock.encode(texts, prompt=prompt, batch_size=1)
        batched = np.linalg.norm(stock.encode(texts, prompt=prompt, batch_size=8) - single)
        packed = np.linalg.norm(ours.encode(texts, prompt=prompt) - single)
        print(f"{dtype}, {len(prompt)} characters of prompt: batched {batched:.2e}, packed {packed:.2e}")
        # In bfloat16 both are rounded, each in its own way: what counts is how far they are from float32.
        assert packed <= (1.5 if dtype == "bfloat16" else 2) * batched
