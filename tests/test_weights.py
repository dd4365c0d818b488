"""A model of which a part was drawn at random is refused, and none that is whole."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertForMaskedLM, LlamaForCausalLM, T5Config, T5Model
from trl import ModelConfig

from anna_embed.model.export import load_adapted
from anna_embed.parsing import RecipeError
from anna_embed.training.adapter import load_base
from anna_embed.weights import check_weights


def lose(folder: Path, *names: str) -> None:
    """Rewrites a model's file without some of its tensors."""
    file = folder / "model.safetensors"
    save_file({name: w for name, w in load_file(file).items() if name not in names}, file, {"format": "pt"})


def as_bin(model, folder):
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def as_of(kind, config=None):
    return lambda model, folder: kind(config or model.config).save_pretrained(folder)


BERT = BertConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
T5 = T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)


@pytest.mark.parametrize("save", [
    lambda model, folder: model.save_pretrained(folder, max_shard_size="20KB"), as_bin, as_of(LlamaForCausalLM),
    as_of(BertForMaskedLM, BERT), as_of(T5Model, T5),
], ids=["shards", "pytorch_model.bin", "other names", "no pooler", "tied"])
def test_whole_models(tiny_model, tmp_path, save):
    """If this fails, a model that is stored in another way than ours cannot be used at all."""
    save(AutoModel.from_pretrained(tiny_model), tmp_path)
    model = AutoModel.from_pretrained(tmp_path)
    check_weights(model, str(tmp_path), "model")
    assert sum(1 for _ in model.parameters()) > 5


def test_a_base_model_in_part(tiny_model, tmp_path):
    """If this fails, an adapter is trained on noise, and merged into other noise."""
    AutoModel.from_pretrained(tiny_model).save_pretrained(tmp_path)
    lose(tmp_path, "layers.1.mlp.down_proj.weight")
    with pytest.raises(RecipeError, match=f"model_name_or_path: '{tmp_path}' lacks the weights layers.1.mlp.down_proj"
                                          ".weight, which would be drawn at random; fetch it again"):
        load_base(str(tmp_path), ModelConfig(dtype="float32"))
    with pytest.raises(RecipeError, match="base_model: .* lacks the weights layers.1.mlp.down_proj.weight"):
        load_adapted(str(tmp_path), [])


def test_many_names():
    """If this fails, the sentence is as long as the model."""
    with pytest.raises(RecipeError, match=r"model: 'here' lacks the weights (\S+, ){2}\S+ and \d+ more, which would"):
        check_weights(BertForMaskedLM(BERT), "here", "model")


def test_code_of_its_own():
    """If this fails, a model whose repository reads the weights by its own code is refused, though it is whole."""
    class Own(BertForMaskedLM):
        @classmethod
        def from_pretrained(cls, folder):
            return cls(BERT)

    check_weights(Own.from_pretrained("here"), "here", "model")
