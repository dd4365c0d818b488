"""A whole release through the real command, and back by id and tag with stock libraries in a fresh cache."""

import json

import pytest
from datasets import load_dataset

from anna_embed.artifacts import ARTIFACTS, read_manifest
from anna_embed.hub.names import DATASETS, repo_type

TEXTS = ["which planet is large", "a b c"]
READ_BACK = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
from peft import PeftModel
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import AutoModel, AutoTokenizer
from anna_embed.artifacts import read_manifest
from anna_embed.located import locate
from anna_embed.schema import PAIRS
from anna_embed.tables import read_split

texts = json.loads(sys.argv[2])
at = {"revision": sys.argv[1]} if sys.argv[1] else {}
model = SentenceTransformer("tester/anna-model", **at)
base = AutoModel.from_pretrained("tester/tiny-base")
adapted = PeftModel.from_pretrained(base, "tester/anna-adapter", **at)
inputs = AutoTokenizer.from_pretrained("tester/tiny-base")(texts, padding=True, return_tensors="pt")
found = locate("pairs", f"tester/anna-pairs@{sys.argv[1] or 'main'}", "dataset", [])
train = read_split("pairs", found.path, "NQ", "train", PAIRS)
print(json.dumps({
    "rows": {f"{name}/{config}/{split}": rows[:] for name in ("pairs", "scores", "triplets", "results")
             for config in get_dataset_config_names(f"tester/anna-{name}", **at)
             for split, rows in load_dataset(f"tester/anna-{name}", config, **at).items()},
    "default": load_dataset("tester/anna-triplets", **at)["train"][:],
    "features": load_dataset("tester/anna-pairs", "NQ", split="test", **at).features == PAIRS,
    "query": model.encode_query(texts).tolist(), "document": model.encode_document(texts).tolist(),
    "adapted": adapted(**inputs).last_hidden_state.tolist(),
    "reranker": CrossEncoder("tester/anna-reranker", **at).predict([texts, texts[::-1]]).tolist(),
    "located": [found.digest, found.commit, read_manifest(found.path)["stage"], len(train)],
    "parents": read_manifest(locate("triplets", "tester/anna-triplets@v1", "dataset", []).path)["parents"],
}))
"""


@pytest.fixture
def vectors(whole_release):
    """What the models of the small release give, each as it was before it was saved."""
    model, adapted, reranker = whole_release
    inputs = model[0].tokenizer(TEXTS, padding=True, return_tensors="pt")
    return {"query": model.encode_query(TEXTS).tolist(), "document": model.encode_document(TEXTS).tolist(),
            "adapted": adapted(**inputs).last_hidden_state.tolist(),
            "reranker": reranker.predict([TEXTS, TEXTS[::-1]]).tolist()}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["LFS", "Xet"])
def test_a_release_goes_up_and_comes_back(hub, artifacts, vectors, run, tmp_path, way):
    """If this fails, what people load by id and tag is not what was made, or needs a path of the maker's machine."""
    xet = {"HF_HUB_DISABLE_XET": str(int(way == "LFS"))}
    command = ("-m", "recipes.publish", "--artifacts", artifacts, "--namespace", "tester")
    dry = run(*command, "--dry_run", **xet)
    assert dry.returncode == 0 and dry.stdout.count("would be created") == len(ARTIFACTS), dry.stderr
    assert list(hub.repos) == [("models", "tester/tiny-base")]
    first = run(*command, **xet)
    assert first.returncode == 0, first.stderr
    ids = [(f"{repo_type(name)}s", f"tester/anna-{name}") for name in ARTIFACTS]
    assert first.stdout.splitlines()[:len(ids)] == [
        f"{name.rpartition('-')[2]}: {name} commit {hub.repos[kind, name].tags['v1']} tag v1" for kind, name in ids]
    assert bool(hub.xet.xorbs) == (way == "Xet")
    assert "training_args.bin" not in hub.repos["models", "tester/anna-adapter"].resolve("v1")["files"]
    assert [(item["type"] + "s", item["id"]) for c in hub.collections.values() for item in c["items"]] == ids
    again = run(*command, **xet)
    assert again.stdout == first.stdout and all(len(hub.repos[name].commits) == 2 for name in ids)

    script = tmp_path / "read_back.py"
    script.write_text(READ_BACK)
    for tag in ("v1", ""):
        loaded = run(script, tag, json.dumps(TEXTS), home=f"fresh{tag}", **xet)
        assert loaded.returncode == 0, loaded.stderr
        back = json.loads(loaded.stdout.splitlines()[-1])
        for name in DATASETS:
            for config, splits in read_manifest(artifacts / name)["files"].items():
                rows = load_dataset(str(artifacts / name), config, cache_dir=tmp_path / "cache")
                for split in splits:
                    assert back["rows"].pop(f"{name}/{config}/{split}") == rows[split][:]
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
