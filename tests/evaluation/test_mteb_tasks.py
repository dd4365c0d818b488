"""mteb's own tasks, from a mirror, with the prompts of training, and never another model's scores."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, load_dataset
from small import SENTENCES

from anna_embed.evaluation.metrics import spearman
from anna_embed.evaluation.mteb_tasks import get_tasks, locate_tasks, prompts_by_task, run_tasks
from anna_embed.model.encode import lay_out_untrained, load_encoder
from anna_embed.parsing import RecipeError
from anna_embed.prompts import query_prompt

STS, REAL = "datasets/mteb/stsbenchmark-sts", Path(__file__).parents[3] / "shared" / "mirror"
MTEBS_OWN = "Instruct: Retrieve semantically similar text.\nQuery: "


@pytest.fixture(scope="module")
def small_mirror(tmp_path_factory):
    """A mirror that holds a small STSBenchmark."""
    mirror = tmp_path_factory.mktemp("mirror")
    rows = [{"sentence1": SENTENCES[n], "sentence2": SENTENCES[(n * 7 + 3) % 20], "score": n % 6 + 0.5}
            for n in range(20)]
    Dataset.from_list(rows).to_parquet(mirror / STS / "data" / "test-00000-of-00001.parquet")
    return mirror


@pytest.fixture
def models(tiny_model, tmp_path):
    """Two models that mteb cannot tell apart by their names."""
    import torch
    from transformers import AutoModel

    paths = []
    for number in range(2):
        path, base = tmp_path / str(number) / "model", tmp_path / str(number) / "base"
        path.mkdir(parents=True)
        base.symlink_to(tiny_model)
        lay_out_untrained(str(base), path)
        if number:
            model = AutoModel.from_pretrained(path)
            with torch.no_grad():
                model.layers[0].mlp.up_proj.weight.mul_(-2)
            (path / "model.safetensors").unlink()
            model.save_pretrained(path)
        paths.append(str(path))
    return paths


def expected(path, mirror, prompt):
    """The same score by our own means."""
    rows = load_dataset("parquet", data_files=str(mirror / STS / "data" / "test-*.parquet"), split="train")
    encode = load_encoder(path, 512, 32, "float32")
    left, right = (encode(rows[side][:], prompt) for side in ("sentence1", "sentence2"))
    return spearman(left, right, np.asarray(rows["score"][:]))


def run(path, digest, prompts, mirror, cache):
    located = locate_tasks(["STSBenchmark"], [str(mirror)])
    (row,) = run_tasks(["STSBenchmark"], path, digest, prompts, located, cache, 32, "float32")
    assert (row["task"], row["metric"], row["n"]) == ("STSBenchmark", "cosine_spearman", 1379)
    return row["value"]


def test_two_models_never_share_an_entry(models, small_mirror, tmp_path):
    """If this fails, the second model that is benchmarked gets the first one's scores, and so do other prompts."""
    cache, own = tmp_path / "cache", {"STSBenchmark": query_prompt("Do they say the same?")}
    for path, digest, prompts in ((models[0], "a", {}), (models[1], "b", {}), (models[1], "b", own)):
        prompt = prompts.get("STSBenchmark", MTEBS_OWN)
        value = run(path, digest, prompts, small_mirror, cache)
        assert value == pytest.approx(expected(path, small_mirror, prompt), abs=1e-4)
        assert run(path, digest, prompts, small_mirror, cache) == value
    assert len(list(cache.rglob("STSBenchmark.json"))) == 3


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / STS).is_dir(), reason="needs a mirror that holds STSBenchmark")
def test_real_stsbenchmark(models, tmp_path):
    """If this fails, the scores on a model's card are not those that mteb gives on the real data."""
    assert run(models[0], "a", {}, REAL, tmp_path) == pytest.approx(expected(models[0], REAL, MTEBS_OWN), abs=1e-4)


def test_prompts_go_to_the_tasks_that_a_dataset_covers():
    """If this fails, a task that was trained under another name is run with mteb's generic instruction."""
    tasks = {"FEVER": {"mteb_tasks": ["FEVER", "FEVERHardNegatives"]}, "mine": {}}
    prompts = prompts_by_task(tasks, {"FEVER": "F", "mine": "M"})
    assert prompts == {"FEVER": "F", "FEVERHardNegatives": "F", "mine": "M"}


def test_unknown_task(small_mirror):
    """If this fails, a typo among many tasks ends in a traceback after hours of encoding."""
    with pytest.raises(RecipeError, match="tasks: mteb has no task .*STSBenchmrk"):
        get_tasks(["STSBenchmark", "STSBenchmrk"])
    with pytest.raises(RecipeError, match="tasks: SICK-R: no mirror holds the dataset 'mteb/sickr-sts'"):
        locate_tasks(["SICK-R"], [str(small_mirror)])
