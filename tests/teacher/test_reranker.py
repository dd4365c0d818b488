"""Which models are taken for a cross-encoder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small import SENTENCES
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from anna_embed.parsing import RecipeError
from anna_embed.teacher import dense, reranker


@pytest.fixture(scope="module")
def save(tmp_path_factory):
    """Saves a tiny BERT of a class, with a tokenizer of whole words."""
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *sorted({w for s in SENTENCES for w in s.split()})]
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)

    def write(kind, outputs):
        folder = tmp_path_factory.mktemp("reranker")
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        model = kind(BertConfig(vocab_size=len(words), num_labels=outputs, **sizes))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder), model.eval(), tokenizer
    return write


def test_scores_are_raw_logits(save):
    """A sigmoid would saturate, and the margin and the temperature of the recipe are for logits."""
    path, model, tokenizer = save(BertForSequenceClassification, 1)
    pairs = [(a, b) for a in SENTENCES[:2] for b in SENTENCES[2:7]]
    with torch.no_grad():
        expected = [model(**tokenizer(q, p, return_tensors="pt")).logits.item() for q, p in pairs]
    scores = reranker.score(reranker.load(path, 64), pairs, batch_size=3)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert scores.dtype == np.float32 and scores.shape == (10,)
    assert reranker.score(None, []).shape == (0,)


def test_longer_than_its_positions(save, tmp_path):
    """If this fails, scoring stops at the first text that long, after everything has been embedded."""
    path = save(BertForSequenceClassification, 1)[0]
    reranker.load(path, 512)
    with pytest.raises(RecipeError, match="max_length: 513 is not possible; the reranker '.*' reads 512 tokens"):
        reranker.load(path, 513)
    with pytest.raises(RecipeError, match="reranker: there is no model in '.*'"):
        reranker.load(str(tmp_path), 64)


@pytest.mark.parametrize("kind, outputs, sentence", [
    (BertModel, 1, "is no cross-encoder, so its scores would be random; .*recipes.train_reranker"),
    (BertForSequenceClassification, 3, "has 3 outputs, but a relevance score is one"),
])
def test_no_random_heads(save, kind, outputs, sentence):
    """The library makes up a head for any encoder, and hours of scores are noise."""
    with pytest.raises(RecipeError, match=f"reranker: '.*' {sentence}"):
        reranker.load(save(kind, outputs)[0], 64)


def test_a_checkpoint_in_part(save, tmp_path):
    """If this fails, a model that was drawn in part at random scores all candidates, or a broken file a traceback."""
    folder, model, _ = save(BertForSequenceClassification, 1)
    folder, weights = Path(folder), model.state_dict()
    save_file({name: weight for name, weight in weights.items() if not name.startswith("classifier")},
              folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RecipeError, match="lacks the weights classifier.weight, classifier.bias, which"):
        reranker.load(str(folder), 64)
    lost = "bert.encoder.layer.0.intermediate.dense.weight"
    save_file({name: weight for name, weight in weights.items() if name != lost}, folder / "model.safetensors",
              metadata={"format": "pt"})
    with pytest.raises(RecipeError, match=f"lacks the weights {lost}, which would be .*; fetch it again"):
        reranker.load(str(folder), 64)
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(RecipeError, match="reranker: cannot read the weights of '.*' .*; fetch them again"):
        reranker.load(str(folder), 64)


def test_no_tokenizer(save):
    """If this fails, all words are the same to the model, and its scores are noise that looks like scores."""
    folder, model, _ = save(BertForSequenceClassification, 1)
    for file in Path(folder).glob("*token*"):
        file.unlink()
    with pytest.raises(RecipeError, match="reranker: '.*' has no tokenizer, and one that was made up knows no words"):
        reranker.load(folder, 64)
    with pytest.raises(RecipeError, match="guide: '.*' has no tokenizer, and one that was made up knows no words"):
        dense.load(folder, key="guide")
