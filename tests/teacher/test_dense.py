"""Dense vectors: finite, with the prompt that was asked for, and none made twice."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_teacher import save_encoder
from transformers import BertModel

from anna_embed.parsing import RecipeError
from anna_embed.teacher import dense
from anna_embed.teacher.shards import Processes
from anna_embed.teacher.vectors import VectorStore, text_keys
from anna_embed.unit_vectors import to_length_one


class Model:
    """Stands for a SentenceTransformer; counts its calls and keeps its prompts."""

    def __init__(self, value=1.0, dtype="float32"):
        self.value, self.dtype, self.prompts, self.texts = value, dtype, [], []

    def encode(self, texts, prompt, **kwargs):
        self.prompts.append(prompt)
        self.texts += texts
        return np.full((len(texts), 2), self.value, np.float32)


def test_nothing_is_embedded_twice(tmp_path):
    """Hours of embedding are kept; another model, type, prompt or text is another key, or vectors would be stale."""
    model, bf16 = Model(), Model(dtype="bfloat16")
    for again in range(2):
        vectors = dense.encode_cached(tmp_path, "digest", model, ["a", "b"], "", 8)
        assert vectors.shape == (2, 2) and vectors.dtype == np.float32 and len(model.prompts) == 1
    for other in (("else", model, ["a", "b"], ""), ("digest", bf16, ["a", "b"], ""),
                  ("digest", model, ["a", "b"], "query: "), ("digest", model, ["ab"], "")):
        dense.encode_cached(tmp_path, *other, 8)
    assert len(model.prompts) == 4 and len(bf16.prompts) == 1
    assert model.texts == ["a", "b"] * 3 + ["ab"] and len(list(tmp_path.glob("*/*.vectors.npy"))) == 5


def test_tasks_share_their_texts(tmp_path, monkeypatch):
    """Two tasks over Wikipedia, or a corpus that grew: only what is new is embedded, each text once."""
    monkeypatch.setattr(dense, "SHARD", 2)
    model, processes = Model(), Processes(tmp_path / "note")
    for texts in (["a", "b", "a", "c"], ["c", "d", "b", "e", "d"], ["e", "a"]):
        store = VectorStore(tmp_path, "digest", "float32", "")
        vectors = dense.embed(store, text_keys(texts), lambda places, t=texts: [t[p] for p in places], model, 8,
                              processes)
        assert vectors[:].shape == (len(texts), 2)
    assert model.texts == ["a", "b", "c", "d", "e"]


def test_an_empty_prompt_is_no_default_prompt():
    """None would put the model's default prompt in front, in the face of a recipe that says there is none."""
    model = Model()
    dense.encode(model, ["a"], "")
    assert model.prompts == [""]


def test_vectors_that_are_no_numbers():
    """A passage with a NaN vector is never found, and nobody notices."""
    with pytest.raises(RecipeError, match="dense_model: the vector of the text 'a' is not finite"):
        dense.encode(Model(np.nan), ["a"])
    assert dense.encode(Model(), []).shape == (0, 2)


def test_vectors_are_of_length_one():
    """If this fails, products of two vectors are no cosines: a model in bfloat16 scales each by its own error."""
    np.testing.assert_allclose(np.linalg.norm(dense.encode(Model(0.71), ["a", "b"]), axis=1), 1, atol=1e-6)
    assert not to_length_one(np.zeros((1, 3))).any()


def test_a_folder_that_is_no_model(tmp_path):
    """If this fails, a wrong path is a traceback."""
    with pytest.raises(RecipeError, match="guide: '.*' is no SentenceTransformer"):
        dense.load(str(tmp_path), key="guide")


def test_a_model_in_part(tmp_path):
    """If this fails, all teacher scores come from weights that were drawn at random, or what is missing is a
    traceback; or an encoder that was stored without its pooler, which nobody uses, is refused."""
    save_encoder(tmp_path / "encoder", BertModel)
    file = tmp_path / "encoder" / "model.safetensors"
    weights = {name: w for name, w in load_file(file).items() if not name.startswith("pooler.")}
    save_file(weights, file, {"format": "pt"})
    folder = tmp_path / "dense"
    dense.load(str(tmp_path / "encoder")).save_pretrained(str(folder))
    lost = "encoder.layer.0.output.dense.bias"
    save_file({name: w for name, w in weights.items() if name != lost}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(RecipeError, match=f"guide: '.*' lacks the weights {lost}, which .*; fetch it again"):
        dense.load(str(folder), key="guide")
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(RecipeError, match="guide: '.*' is no SentenceTransformer .*Pooling.*; fetch it again"):
        dense.load(str(folder), key="guide")


def test_weights_on_even_addresses():
    """If this fails, the last bits of scores differ from process to process: a CPU's products depend on addresses."""
    memory = torch.arange(64, dtype=torch.float32)
    model = torch.nn.Linear(4, 4)
    model.weight.data = memory[7: 23].view(4, 4)
    assert model.weight.data_ptr() % 64
    dense.aligned(model)
    assert model.weight.data_ptr() % 64 == 0 and model.weight.tolist() == memory[7: 23].view(4, 4).tolist()
