"""Training from Hub ids, as somebody does who reruns only this stage on what a release holds."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi, constants
from recipes import train as stage
from small_release import publish
from transformers import TrainingArguments
from trl import ModelConfig

from anna_embed.config import TrainConfig
from anna_embed.fetch import fetch
from anna_embed.parsing import RecipeError, parse

RECIPE = {"dtype": "float32", "use_peft": True, "lora_task_type": "FEATURE_EXTRACTION", "lora_r": 4,
          "lora_target_modules": ["all-linear"], "retrieval_batch_size": 3, "num_negatives": 1, "max_steps": 2,
          "max_length": 64, "max_examples": 1, "prompt_max_length": 160, "learning_rate": 1e-2, "use_cpu": True,
          "seed": 7}


def train(folder, triplets, base):
    """Runs the stage; the bytes of the adapter's weights, and its manifest."""
    folder.mkdir()
    file = folder / "train.yaml"
    keys = {"artifacts": str(folder), "triplets": triplets, "model_name_or_path": base, **RECIPE}
    file.write_text(yaml.safe_dump(keys))
    stage.main(*parse((TrainConfig, TrainingArguments, ModelConfig), ["--config", str(file)]))
    adapter = folder / "adapter"
    return (adapter / "adapter_model.safetensors").read_bytes(), json.loads((adapter / "manifest.json").read_text())


def test_a_node_without_network_finds_what_was_fetched(hub, client, tiny_model, tmp_path, monkeypatch):
    """If this fails, who fetches on a login node and computes on one without network is told to check the name."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "repository"
    shutil.copytree(tiny_model, repository)
    for name in ("tf_model.h5", "pytorch_model.bin"):
        (repository / name).write_text("a copy in another format")
    HfApi().create_repo("tester/tiny", private=True)
    HfApi().upload_folder(folder_path=repository, repo_id="tester/tiny")
    path, commit = fetch("model", "tester/tiny", None, "model", True)
    assert not {"tf_model.h5", "pytorch_model.bin"} & {file.name for file in Path(path).iterdir()}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch("model", "tester/tiny", None, "model", True) == (path, commit)
    assert fetch("model", "tester/tiny", commit, "model", True) == (path, commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    HfApi().delete_file("model.safetensors", "tester/tiny")
    older = fetch("model", "tester/tiny", None, "model", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch("model", "tester/tiny", None, "model", True) == older
    assert Path(older[0], "pytorch_model.bin").is_file()
    with pytest.raises(RecipeError, match="HF_HUB_OFFLINE is set .*fetch it once without HF_HUB_OFFLINE"):
        fetch("model", "tester/other", None, "model", True)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["LFS", "Xet"])
def test_an_adapter_trained_from_the_hub(hub, client, artifacts, tiny_model, tmp_path, monkeypatch, way):
    """If this fails, training on a release gives another adapter than training on the folders it was made from."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", way == "LFS")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    publish(artifacts, "triplets")
    HfApi().create_repo("tester/tiny", private=True)
    base = HfApi().upload_folder(folder_path=tiny_model, repo_id="tester/tiny").oid
    from_folders, _ = train(tmp_path / "folders", str(artifacts / "triplets"), str(tiny_model))
    for reference in ("tester/anna-triplets@v1", "tester/anna-triplets"):
        from_hub, manifest = train(tmp_path / reference.partition("-")[2], reference, "tester/tiny")
        assert from_hub == from_folders
        assert {key: (parent["reference"], parent["commit"]) for key, parent in manifest["parents"].items()} == {
            "triplets": (reference, hub.repos["datasets", "tester/anna-triplets"].tags["v1"]),
            "model_name_or_path": ("tester/tiny", base)}
    adapter_config = json.loads((tmp_path / "triplets@v1/adapter/adapter_config.json").read_text())
    assert adapter_config["base_model_name_or_path"] == "tester/tiny"
