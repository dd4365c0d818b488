"""A whole release through the real command, and back by id and tag with stock libraries in a fresh cache."""

import json

import pytest
from huggingface_hub import HfApi
from small_release import finish

from anna_embed.artifacts import Stage, locate

READ_BACK = """
import json, sys
from datasets import load_dataset
from peft import PeftModel
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer
from anna_embed.artifacts import locate, read_manifest
from anna_embed.schema import PAIRS
from anna_embed.tables import read_split

texts = ["which planet is large", "a b c"]
model = SentenceTransformer("tester/anna-model", revision="v1")
base = AutoModel.from_pretrained("tester/tiny-base")
adapted = PeftModel.from_pretrained(base, "tester/anna-adapter", revision="v1")
inputs = AutoTokenizer.from_pretrained("tester/tiny-base")(texts, padding=True, return_tensors="pt")
at = locate("pairs", "tester/anna-pairs@v1", "dataset", [])
train = read_split("pairs", at.path, "NQ", "train", PAIRS)
print(json.dumps({
    "rows": {f"{config}/{split}": rows[:] for config in ("NQ", "NQ-corpus")
             for split, rows in load_dataset("tester/anna-pairs", config, revision="v1").items()},
    "default": load_dataset("tester/anna-triplets", revision="v1")["train"][:],
    "features": load_dataset("tester/anna-pairs", "NQ", split="test", revision="v1").features == PAIRS,
    "query": model.encode_query(texts).tolist(), "document": model.encode_document(texts).tolist(),
    "adapted": adapted(**inputs).last_hidden_state.tolist(),
    "located": [at.digest, at.commit, read_manifest(at.path)["stage"], len(train)],
    "parents": read_manifest(locate("triplets", "tester/anna-triplets@v1", "dataset", []).path)["parents"],
}))
"""


@pytest.fixture
def vectors(client, artifacts, tmp_path):
    """Adds a tiny adapter and model to the run, made from a base that lies at a path of this machine."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    base = tmp_path / "machine" / "base"
    vocabulary = {"<unk>": 0, "</s>": 1, "a": 2, "b": 3, "planet": 4, "which": 5}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="</s>", eos_token="</s>").save_pretrained(base)
    torch.manual_seed(0)
    shape = LlamaConfig(vocab_size=6, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    LlamaModel(shape).save_pretrained(base)
    HfApi().create_repo("tester/tiny-base", private=True)
    commit = HfApi().upload_folder(folder_path=base, repo_id="tester/tiny-base").oid
    named = {"base_model": {"name": "tester/tiny-base", "commit": commit, "licence": "apache-2.0"}}

    stage = Stage("train", f"{artifacts}/adapter", {}, {
        "triplets": locate("triplets", str(artifacts / "triplets"), "dataset", [])})
    lora = LoraConfig(task_type="FEATURE_EXTRACTION", target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(AutoModel.from_pretrained(base), lora).save_pretrained(stage.begin())
    (stage.work / "README.md").unlink()
    (stage.work / "training_args.bin").write_bytes(b"private")
    finish(stage, {"NQ": {"train": 6}}, [], training={"learning_rate": 1e-3}, **named)
    adapted = PeftModel.from_pretrained(AutoModel.from_pretrained(base), artifacts / "adapter")

    parents = {"adapter": locate("adapter", str(artifacts / "adapter"), "model", [])}
    stage = Stage("export", f"{artifacts}/model", {}, parents)
    transformer = Transformer(str(base))
    prompts = {"query": "Instruct: find\nQuery: ", "document": ""}
    pooling = Pooling(16, pooling_mode="lasttoken")
    model = SentenceTransformer(modules=[transformer, pooling, Normalize()], prompts=prompts)
    model.save_pretrained(str(stage.begin()), create_model_card=False)
    finish(stage, {"NQ": {"train": 6}}, [], prompts=prompts, **named)
    texts = ["which planet is large", "a b c"]
    inputs = transformer.tokenizer(texts, padding=True, return_tensors="pt")
    return {"query": model.encode_query(texts).tolist(), "document": model.encode_document(texts).tolist(),
            "adapted": adapted(**inputs).last_hidden_state.tolist()}


@pytest.mark.slow
def test_a_release_goes_up_and_comes_back(hub, artifacts, vectors, run, tmp_path):
    """If this fails, what people load by id and tag is not what was made, or needs a path of the maker's machine."""
    from datasets import load_dataset

    command = ("-m", "recipes.publish", "--artifacts", artifacts, "--namespace", "tester")
    dry = run(*command, "--dry_run")
    assert dry.returncode == 0 and dry.stdout.count("would be created") == 4, dry.stderr
    assert list(hub.repos) == [("models", "tester/tiny-base")]
    first = run(*command)
    assert first.returncode == 0, first.stderr
    ids = [(kind, f"tester/anna-{name}") for kind, name in (("datasets", "pairs"), ("datasets", "triplets"),
                                                            ("models", "adapter"), ("models", "model"))]
    assert first.stdout.splitlines()[:4] == [
        f"{name.rpartition('-')[2]}: {name} commit {hub.repos[kind, name].tags['v1']} tag v1" for kind, name in ids]
    assert "training_args.bin" not in hub.repos["models", "tester/anna-adapter"].resolve("v1")["files"]
    assert [(item["type"] + "s", item["id"]) for c in hub.collections.values() for item in c["items"]] == ids
    again = run(*command)
    assert again.stdout == first.stdout and all(len(hub.repos[name].commits) == 2 for name in ids)

    script = tmp_path / "read_back.py"
    script.write_text(READ_BACK)
    loaded = run(script, home="fresh")
    assert loaded.returncode == 0, loaded.stderr
    back = json.loads(loaded.stdout.splitlines()[-1])
    for config in ("NQ", "NQ-corpus"):
        for split, rows in load_dataset(str(artifacts / "pairs"), config, cache_dir=tmp_path / "cache").items():
            assert back["rows"].pop(f"{config}/{split}") == rows[:]
    assert back["rows"] == {} and len(back["default"]["query"]) == 6 and back["features"]
    assert {key: back[key] for key in vectors} == vectors
    commit = hub.repos["datasets", "tester/anna-pairs"].tags["v1"]
    assert back["located"] == [f"hub:{commit}", commit, "convert", 6]
    assert back["parents"]["pairs"]["published_as"] == "tester/anna-pairs@v1"
    assert back["parents"]["pairs"]["reference"] == "pairs"
    published = b"".join(hub.objects[entry["oid"]] for name in ids for path, entry in
                         hub.repos[name].resolve("v1")["files"].items() if "lfs" not in entry)
    assert b"tester/anna-triplets@v1" in published and str(tmp_path).encode() not in published


def test_the_command_says_what_is_missing(run, artifacts, hub):
    """If this fails, a mistake in the command ends in a traceback, or is taken for something else in silence."""
    command = ("-m", "recipes.publish", "--artifacts", artifacts)
    for more, sentence in (
            (("--dry_run", "--names", "scores"), f"names: '{artifacts}' holds no finished artifact 'scores'; it has "
             "pairs, triplets."),
            (("--namespace", "me", "--tag", "main"), "tag: 'main' is not possible; write a version, for example v1."),
            (("--namespace", "me", "--mirror", "m"), "mirror: ['m'] is not possible; publishing needs the Hub: leave "
             "--mirror out.")):
        ended = run(*command, *more)
        assert (ended.returncode, ended.stderr.splitlines()[-1]) == (2, f"error: {sentence}")
    assert hub.log == []
