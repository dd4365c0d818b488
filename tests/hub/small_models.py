"""What makes the small release whole: scores, tiny random models in every form, and results, as stages write them."""

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from small_release import finish
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModel, BertConfig, BertForSequenceClassification, LlamaConfig, LlamaModel, PreTrainedTokenizerFast)

from anna_embed.artifacts import Stage
from anna_embed.located import locate
from anna_embed.schema import RESULTS, SCORES
from anna_embed.tables import columns_of, write_split

VOCABULARY = {"<unk>": 0, "</s>": 1, "a": 2, "b": 3, "planet": 4, "which": 5}
PROMPTS = {"query": "Instruct: find\nQuery: ", "document": ""}


def make_rest(artifacts, base, named):
    """Everything beside the pairs and triplets; the embedder, the adapted base and the reranker.

    Args:
        base (`Path`): The base model's folder, as [`make_base`] leaves it.
        named (`dict`): What the manifests say of the base model.
    """
    reranker = make_reranker(artifacts, base.with_name("cross-encoder"))
    make_scores(artifacts)
    adapted, model = make_adapter(artifacts, base, named), make_model(artifacts, base, named)
    make_results(artifacts)
    return model, adapted, reranker


def make_base(folder):
    """A decoder-only base model."""
    _save_tokenizer(folder)
    torch.manual_seed(0)
    LlamaModel(LlamaConfig(vocab_size=6, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                           num_attention_heads=2)).save_pretrained(folder)


def make_adapter(artifacts, base, named):
    """LoRA weights that change something, and a file that must not be published."""
    stage = Stage("train", f"{artifacts}/adapter", {}, _parents(artifacts, triplets="dataset"))
    lora = LoraConfig(task_type="FEATURE_EXTRACTION", target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(AutoModel.from_pretrained(base), lora).save_pretrained(stage.begin())
    (stage.work / "README.md").unlink()
    (stage.work / "training_args.bin").write_bytes(b"private")
    finish(stage, {"NQ": {"train": 6}}, [], training={"learning_rate": 1e-3}, base_model=named)
    return PeftModel.from_pretrained(AutoModel.from_pretrained(base), artifacts / "adapter")


def make_model(artifacts, base, named):
    """A stock Sentence Transformers model."""
    stage = Stage("export", f"{artifacts}/model", {}, _parents(artifacts, adapter="model"))
    modules = [Transformer(str(base)), Pooling(16, pooling_mode="lasttoken"), Normalize()]
    model = SentenceTransformer(modules=modules, prompts=PROMPTS)
    model.save_pretrained(str(stage.begin()), create_model_card=False)
    finish(stage, {"NQ": {"train": 6}}, [], prompts=PROMPTS, base_model=named)
    return model


def make_reranker(artifacts, base):
    """A cross-encoder; its own base lies in the folder `base`."""
    _save_tokenizer(base)
    torch.manual_seed(0)
    shape = BertConfig(vocab_size=6, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                       max_position_embeddings=64, num_labels=1, pad_token_id=1)
    BertForSequenceClassification(shape).save_pretrained(base)
    model = CrossEncoder(str(base), max_length=64)
    stage = Stage("train_reranker", f"{artifacts}/reranker", {}, _parents(artifacts, pairs="dataset"))
    model.save_pretrained(str(stage.begin()), create_model_card=False)
    named = {"name": "org/cross-encoder", "licence": "apache-2.0"}
    finish(stage, {"NQ": {"train": 6}}, [], metrics={"loss": 0.5}, base_model=named)
    return model


def make_scores(artifacts):
    """Every query with two candidates."""
    stage = Stage("score", f"{artifacts}/scores", {}, _parents(artifacts, pairs="dataset"))
    rows = [{"query_id": f"q{i}", "query": f"what is {i}", "candidate_ids": ["p1", "p2"], "candidates": ["1", "2"],
             "is_positive": [True, False], **{name: [1.0, 0.5] for name in ("bm25", "dense", "reranker", "rrf")}}
            for i in range(6)]
    finish(stage, {"NQ": {"train": write_split(stage.begin(), "NQ", "train", rows, SCORES)}}, [])


def make_results(artifacts):
    """Scores of the model and of a yardstick; call it last, as it describes the model that is there."""
    stage = Stage("benchmark", f"{artifacts}/results", {}, _parents(artifacts, model="model", pairs="dataset"))
    table = [{"model": name, "task": "NQ", "metric": "nDCG@10", "value": 0.5, "n": 3, "note": None}
             for name in ("trained model", "BM25")]
    rows = {"results": {"test": write_split(stage.begin(), "results", "test", table, RESULTS)}}
    finish(stage, rows, [], table=table, columns={"results": columns_of(RESULTS)},
           command="python -m recipes.benchmark --config recipes/own_data/benchmark.yaml")


def _parents(artifacts, **types):
    return {name: locate(name, f"{artifacts}/{name}", repo_type, []) for name, repo_type in types.items()}


def _save_tokenizer(folder):
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="</s>", eos_token="</s>").save_pretrained(folder)
