"""The exported folder gives, in the stock library, the vectors that training computed: one vector everywhere."""

import copy
import json
import shutil

import numpy as np
import pytest
import recipes.export
import torch
from llama2_style import save_bos_tokenizer
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from small import SENTENCES, TASKS, save_tiny_model, triplet_rows
from trained import rewrite, write_adapter, write_triplets
from transformers import AutoModel, AutoTokenizer, LlamaConfig, Phi3Config, StableLmConfig

from anna_embed.artifacts import read_manifest
from anna_embed.config import ExportConfig
from anna_embed.model.encode import lay_out_untrained, load_encoder
from anna_embed.model.export import load_adapted, vectors_of
from anna_embed.model.layout import portable_config
from anna_embed.model.stored_prompts import prompts_of
from anna_embed.parsing import RecipeError
from anna_embed.prompts import query_prompt
from anna_embed.tokens import load_tokenizer, tokenize

LIMIT = 320
TEXTS = [*SENTENCES[:6], "", "a", "\u200d🙂👩‍👩‍👧", "two  spaces\n\nlines", "</s> <|endoftext|>",
         " ".join(SENTENCES * 3)]


def export(artifacts, **keys):
    given = {"max_seq_length": LIMIT, "dtype": "float32", **keys}
    recipes.export.main(ExportConfig(artifacts=str(artifacts), **given), given)
    return artifacts / "model"


@pytest.fixture(scope="module", params=["without BOS", "with BOS"])
def run(request, tmp_path_factory):
    """Base, triplets and adapter; rotary settings are not the default ones, so that losing them shows."""
    folder = tmp_path_factory.mktemp("run")
    save_tiny_model(folder / "base")
    rope = {"rope_theta": 500.0, "rope_type": "linear", "factor": 1.5}
    rewrite(folder / "base" / "config.json", rope_parameters=rope)
    if request.param == "with BOS":
        save_bos_tokenizer(folder / "base")
    write_triplets(folder / "artifacts")
    write_adapter(folder / "artifacts", folder / "base")
    export(folder / "artifacts", num_examples=2)
    return folder


@pytest.fixture(scope="module")
def trainer(run):
    """What training computes: texts to token ids and vectors, from the adapter on the base."""
    model, tokenizer = load_adapted(run / "base", [run / "artifacts" / "adapter"]), load_tokenizer(run / "base", LIMIT)
    return lambda texts: (tokenize(tokenizer, texts, LIMIT), vectors_of(model, tokenizer, texts, LIMIT).numpy())


@pytest.fixture
def stock(run):
    return SentenceTransformer(str(run / "artifacts" / "model"), device="cpu")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["query", "document", "questions-query", "graded", "topics"])
def test_stock_library_gives_the_trainers_vectors(trainer, stock, side, name):
    """If this fails, everyone who loads the model searches with other vectors than those that were trained."""
    ids, vectors = trainer([stock.prompts[name] + text for text in TEXTS])
    stock.tokenizer.padding_side = side
    prompted = [stock.prompts[name] + text for text in TEXTS]
    assert stock.tokenizer(prompted, truncation=True, max_length=stock.max_seq_length)["input_ids"] == ids
    assert all(row[-1] == stock.tokenizer.eos_token_id for row in ids) and len(ids[-1]) == LIMIT
    np.testing.assert_allclose(stock.encode(TEXTS, prompt_name=name, batch_size=5), vectors, atol=1e-5)
    np.testing.assert_allclose(stock.encode(TEXTS, prompt=stock.prompts[name]), vectors, atol=1e-5)


def test_queries_and_documents_get_their_prompts(trainer, stock):
    """If this fails, `encode_query` or `encode_document`, which the card tells people to use, is wrong."""
    assert stock.default_prompt_name is None and stock.similarity_fn_name == "cosine"
    np.testing.assert_allclose(stock.encode_document(TEXTS), trainer(TEXTS)[1], atol=1e-5)
    asked = [stock.prompts["query"] + text for text in TEXTS]
    np.testing.assert_allclose(stock.encode_query(TEXTS), trainer(asked)[1], atol=1e-5)


def test_documents_of_symmetric_tasks_get_their_instruction():
    """If this fails, a model of graded pairs alone encodes what is searched in a way that was never trained."""
    asked = query_prompt("Do they say the same?")
    tasks = {"graded": {"kind": "sts", "instruction": "Do they say the same?"}}
    assert prompts_of(tasks, {"graded": f"examples\n\n{asked}"}) == {
        "query": f"examples\n\n{asked}", "document": asked, "graded": f"examples\n\n{asked}", "graded-document": asked}
    labels = {"intents": {"kind": "classification", "instruction": "Which intent?"}}
    assert prompts_of(labels, {})["intents-document"] == ""  # what stands in front of the labels
    questions = {"questions": {"kind": "retrieval", "instruction": "Find it"}}
    assert prompts_of(tasks | questions, {})["document"] == ""


def test_pooled_by_hand(run, trainer, stock):
    """If this fails, servers that know transformers only (or a tokenizer file) give other vectors."""
    folder = run / "artifacts" / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    texts = [stock.prompts["query"] + text for text in TEXTS]
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    last = states[torch.arange(len(texts)), batch["attention_mask"].sum(1) - 1]
    np.testing.assert_allclose(torch.nn.functional.normalize(last, dim=1), trainer(texts)[1], atol=1e-5)
    assert tokenizer.chat_template is None and not (folder / "chat_template.jinja").exists()


def test_files_that_older_releases_read(run):
    """If this fails, sentence-transformers 5 stops at an unknown module, or transformers 4 uses its default rotary
    base and a list of special tokens that it does not understand."""
    folder = run / "artifacts" / "model"
    read = {file.name: json.loads(file.read_text()) for file in folder.glob("*.json")}
    assert [m["type"].rpartition(".")[0] for m in read["modules.json"]] == ["sentence_transformers.models"] * 3
    config = read["config.json"]
    assert (config["rope_theta"], config["rope_scaling"]) == (500.0, {"rope_type": "linear", "factor": 1.5})
    assert LlamaConfig.from_pretrained(folder).rope_parameters == {"rope_theta": 500.0, **config["rope_scaling"]}
    assert read["tokenizer_config.json"]["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not {"extra_special_tokens", "add_bos_token", "add_eos_token"} & set(read["tokenizer_config.json"])


def test_stored_examples(run, stock):
    """If this fails, examples are repeated, give the answer's form wrong, or come from rows that say the opposite."""
    names = ["questions-query", "inference", "graded", "intents", "topics"]
    assert list(stock.prompts) == ["query", "document", *names, *(f"{name}-document" for name in names[1:])]
    assert stock.prompts["query"] == stock.prompts["questions-query"] and stock.prompts["document"] == ""
    for task, name in zip(TASKS, names):
        blocks = stock.prompts[name].split("\n\n")
        assert blocks[-1] == query_prompt(TASKS[task]["instruction"]) and len(blocks) == 3
        rows = triplet_rows()[task]
        shown = [block.removeprefix(blocks[-1]).split("\nResponse: ") for block in blocks[:-1]]
        sources = [[row for row in rows if row["query"].startswith(query) and query
                    and (row["label"] or row["positive"]).startswith(response)] for query, response in shown]
        assert all(sources) and shown[0] != shown[1]
        if task == "graded":
            assert all(any(row["label_score"] >= 0.8 for row in some) for some in sources)
        if task in ("intents", "topics"):
            assert shown[0][1] != shown[1][1]


def test_examples_need_room(run, capsys):
    """If this fails, examples fill the model's limit and every query is cut away."""
    with pytest.raises(RecipeError, match="max_seq_length: 64 is not possible; write more than the 64 tokens of a"):
        export(run / "artifacts", num_examples=1, max_seq_length=64)
    assert not (run / "artifacts" / "model.partial").exists()


@pytest.mark.parametrize("what, spoil", [
    ("other token ids", lambda folder: rewrite(folder / "tokenizer.json", post_processor=None)),
    ("cosine", lambda folder: rewrite(folder / "config.json", rope_theta=7.0, rope_parameters={
        "rope_theta": 7.0, "rope_type": "default"})),
])
def test_a_model_that_fails_its_checks_is_not_written(run, tmp_path, monkeypatch, what, spoil):
    """If this fails, a model whose vectors are not the trainer's is exported, and published with a good card."""
    write_triplets(tmp_path)
    write_adapter(tmp_path, run / "base")
    import anna_embed.model.export as module

    written = module.write_model

    def spoilt(model, tokenizer, folder, *args):
        merged = written(model, tokenizer, folder, *args)
        spoil(folder)
        return merged

    monkeypatch.setattr(module, "write_model", spoilt)
    with pytest.raises(RecipeError, match=f"export: .*{what}.*; nothing was written"):
        export(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "triplets"]


def test_weights_that_are_no_numbers(run, tmp_path):
    """If this fails, a training that diverged is exported as if nothing had happened."""
    write_triplets(tmp_path)
    write_adapter(tmp_path, run / "base")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: weight * float("nan") for name, weight in load_file(file).items()}, file)
    with pytest.raises(RecipeError, match="export: a vector is not finite"):
        export(tmp_path)


def test_the_mean_of_two_adapters(run, tmp_path):
    """If this fails, what is said to be the mean of two steps is some other model: the mean of the factors, say."""
    for name, rank in (("first", 4), ("second", 6)):
        write_triplets(tmp_path / name)
        write_adapter(tmp_path / name, run / "base", rank)
        export(tmp_path / name)
    told = tmp_path / "second" / "adapter" / "manifest.json"
    rewrite(told, tasks=read_manifest(told.parent)["tasks"] | {"of the second alone": TASKS["graded"]})
    both = export(tmp_path / "first", average=[str(tmp_path / "second" / "adapter")])
    shutil.copytree(both, tmp_path / "both")
    export(tmp_path / "first")
    first, second, mean = (load_file(tmp_path / name / "model.safetensors")
                           for name in ("first/model", "second/model", "both"))
    assert sum((first[name] - second[name]).abs().max() > 0.01 for name in mean) >= 7
    for name, weight in mean.items():
        torch.testing.assert_close(weight, (first[name] + second[name]) / 2, rtol=1e-5, atol=1e-6)
    manifest = read_manifest(tmp_path / "both")
    assert "of the second alone" in manifest["tasks"] and "average.0" in manifest["parents"]


@pytest.mark.parametrize("how", [{"use_rslora": True}, {"use_dora": True}, {"modules_to_save": ["norm"]}], ids=str)
def test_means_of_other_kinds_of_lora(run, tmp_path, how):
    """rslora scales by the root of the rank: twice, as peft does it, and the export's checks would agree with it."""
    base = AutoModel.from_pretrained(str(run / "base"), dtype=torch.float32)
    for name, rank in (("first", 4), ("second", 6)):
        torch.manual_seed(rank)
        model = get_peft_model(copy.deepcopy(base), LoraConfig(r=rank, lora_alpha=8, target_modules="all-linear",
                                                               init_lora_weights=False, **how))
        model.save_pretrained(str(tmp_path / name), save_embedding_layers=False)
    both = [str(tmp_path / name) for name in ("first", "second")]
    if "use_rslora" not in how:  # peft averages the factors alone
        with pytest.raises(RecipeError, match="average: adapters with use_dora, lora_modules_to_save or .* have no m"):
            load_adapted(str(run / "base"), both)
        return
    first, second, mean = (load_adapted(str(run / "base"), some).merge_and_unload().state_dict()
                           for some in (both[:1], both[1:], both))
    assert any((first[name] - second[name]).abs().max() > 0.01 for name in mean)
    for name, weight in mean.items():
        torch.testing.assert_close(weight, (first[name] + second[name]) / 2, rtol=1e-5, atol=1e-6)


def test_tasks_that_were_mined_since(run, tmp_path):
    """Another task in the recipe, mined but not trained yet, has no prompt: the export ended in a traceback."""
    shutil.copytree(run / "artifacts", tmp_path / "run", ignore=shutil.ignore_patterns("model"))
    told = tmp_path / "run" / "adapter" / "manifest.json"
    tasks = read_manifest(told.parent)["tasks"]
    rewrite(told, tasks={task: tasks[task] for task in list(tasks)[1:]})
    assert list(tasks)[0] not in read_manifest(export(tmp_path / "run"))["tasks"]


def test_a_limit_that_the_prompt_fills(run, tmp_path):
    """If this fails, all queries have the same vector: nothing of them is left behind the instruction."""
    shutil.copytree(run / "artifacts", tmp_path / "run", ignore=shutil.ignore_patterns("model"))
    with pytest.raises(RecipeError, match="max_seq_length: 9 is not possible; the longest prompt takes .* tokens"):
        export(tmp_path / "run", max_seq_length=9, num_examples=0)
    assert not list((tmp_path / "run").glob("model*"))


@pytest.mark.parametrize("config, expected", [
    (StableLmConfig(partial_rotary_factor=0.5), {"partial_rotary_factor": 0.5, "rope_scaling": None}),
    (Phi3Config(max_position_embeddings=131072, rope_parameters={
        "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 48, "long_factor": [2.0] * 48}),
     {"rope_scaling": {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48}}),
], ids=["part of each head", "longrope"])
def test_rotary_settings_as_transformers_4_reads_them(tmp_path, config, expected):
    """If this fails, transformers 4 refuses the model, or takes its defaults and gives other vectors in silence."""
    config.save_pretrained(tmp_path)
    portable_config(tmp_path, "float32")
    written = json.loads((tmp_path / "config.json").read_text())
    assert expected.items() <= written.items() and written["rope_theta"] == config.rope_parameters["rope_theta"]
    again = type(config).from_pretrained(tmp_path).rope_parameters
    assert {key: again[key] for key in config.rope_parameters} == config.rope_parameters


def test_adapters_of_two_bases_have_no_mean(run, tmp_path):
    """The mean of weights that have nothing in common embeds nothing."""
    shutil.copytree(run / "artifacts" / "adapter", tmp_path / "other")
    rewrite(tmp_path / "other" / "manifest.json", base_model={"name": "org/another", "digest": "", "commit": None})
    with pytest.raises(RecipeError, match="average: '.*other' was trained on org/another, and .* of one base"):
        export(run / "artifacts", average=[str(tmp_path / "other")])


def test_only_adapters_have_a_mean(run):
    """If this fails, somebody who named the wrong folder is told that it was trained on None."""
    folder = run / "artifacts" / "triplets"
    with pytest.raises(RecipeError, match=f"average: '{folder}' holds no adapter with a manifest.json that names its"):
        export(run / "artifacts", average=[str(folder)])


def test_rounded_weights(run, tmp_path):
    """If this fails, bfloat16 export is refused, or rounds before merging and loses the adapter."""
    write_triplets(tmp_path)
    write_adapter(tmp_path, run / "base")
    manifest = read_manifest(export(tmp_path, dtype="bfloat16"))
    assert AutoModel.from_pretrained(tmp_path / "model", dtype="auto").dtype == torch.bfloat16
    assert manifest["checks"]["merged against adapter, float32"] < 1e-5
    assert 0.99 < manifest["checks"]["lowest cosine of these"] < 1
    assert manifest["prompts"]["query"] == query_prompt(TASKS["questions"]["instruction"])


def test_adapter_of_another_base(run, tmp_path):
    """If this fails, an adapter on the wrong base ends in a traceback of peft, or in a model of noise."""
    write_triplets(tmp_path)
    write_adapter(tmp_path, run / "base")
    rewrite(run / "base" / "config.json", hidden_size=32)  # the same base: only a note that its content differs
    small = tmp_path / "small"
    save_tiny_model(small)
    model = AutoModel.from_pretrained(small)
    config = model.config
    config.intermediate_size = 40
    type(model)(config).save_pretrained(small)
    manifest = read_manifest(tmp_path / "adapter")
    rewrite(tmp_path / "adapter" / "manifest.json", base_model=manifest["base_model"] | {"name": str(small)})
    with pytest.raises(RecipeError, match=f"adapter: '{tmp_path}/adapter' does not fit the base '{small}'"):
        export(tmp_path)


def test_adapters_that_are_not_whole(run, tmp_path):
    """If this fails, an adapter whose layers are half missing is exported with a good card: peft only warns."""
    shutil.copytree(run / "artifacts" / "adapter", tmp_path / "cut")
    file = tmp_path / "cut" / "adapter_model.safetensors"
    save_file({name: weight for name, weight in load_file(file).items() if "layers.1." not in name}, file)
    with pytest.raises(RecipeError, match="adapter: '.*cut' has weights of other names .* or not all of them"):
        load_adapted(run / "base", [run / "artifacts" / "adapter", tmp_path / "cut"])
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(RecipeError, match="adapter: the weights of '.*cut' are damaged .*; fetch it again"):
        load_adapted(run / "base", [tmp_path / "cut"])


def test_what_training_starts_from(run, tmp_path):
    """If this fails, the table compares the trained model with a base that reads other tokens."""
    lay_out_untrained(run / "base", tmp_path)
    encode = load_encoder(str(tmp_path), 20, 4, "float32")
    tokenizer, model = load_tokenizer(run / "base", 512), AutoModel.from_pretrained(run / "base", dtype=torch.float32)
    texts = [SENTENCES[0], "a", SENTENCES[0]]
    np.testing.assert_allclose(encode(texts, ""), vectors_of(model, tokenizer, texts, 20), atol=1e-5)
    prompt = query_prompt("Find it")  # a prompt has its room beside the text's
    ids = tokenizer([prompt + t for t in texts])["input_ids"]
    own = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    assert len(ids[0]) > 20 + own
    expected = vectors_of(model, tokenizer, [prompt + t for t in texts], 20 + own)
    np.testing.assert_allclose(encode(texts, prompt), expected, atol=1e-5)
