"""A tiny random dense model and cross-encoder, and the pairs they score: what the stages score and mine run on."""

import os
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from sentence_transformers import SentenceTransformer
from small import SENTENCES, TASKS
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from anna_embed.artifacts import Stage
from anna_embed.schema import CORPUS, PAIRS
from anna_embed.tables import write_split

ROOT = Path(__file__).parents[2]
TWO = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "recipes/accelerate/cpu2.yaml", "-m"]
ONE = [sys.executable, "-m"]


def save_encoder(folder: Path, kind: type, outputs: int = 1):
    """A BERT of one layer (16 dims), with a tokenizer of whole words; returns both."""
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *sorted({w for s in SENTENCES for w in s.split()})]
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = kind(BertConfig(vocab_size=len(words), num_labels=outputs, **sizes))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "LayerNorm" not in name:
                weight.normal_(0, 0.3)  # so that texts differ in their scores
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval(), tokenizer


def passages() -> list[dict]:
    """A corpus of 72 passages: the sentences, and others made of their halves."""
    texts = list(SENTENCES)
    for shift in (1, 2):
        for one, other in zip(SENTENCES, SENTENCES[shift:] + SENTENCES[:shift]):
            texts.append(" ".join(one.split()[: len(one.split()) // 2] + other.split()[len(other.split()) // 2:]))
    return [{"id": f"id{n:03d}", "text": text} for n, text in enumerate(texts)]


def pairs(task: str = "questions") -> list[dict]:
    """A query per sentence, some with two positives."""
    corpus, rows = passages(), []
    for n, sentence in enumerate(SENTENCES):
        query = " ".join(sentence.split()[1:5])
        for positive in [corpus[n], *([corpus[n + 24]] if n % 3 == 0 else [])]:
            rows.append({"query_id": f"q{n:02d}", "query": query, "positive_id": positive["id"],
                         "positive": positive["text"], "negatives": [], "label": None, "label_score": None,
                         "task": task})
    return rows


def write_world(folder: Path, rows: list[dict] | None = None, corpus: list[dict] | None = None) -> Path:
    """The folder of a recipe: both models, and the pairs of one retrieval task and one that no teacher scores."""
    save_encoder(folder / "encoder", BertModel)
    SentenceTransformer(str(folder / "encoder"), device="cpu").save_pretrained(str(folder / "dense"))
    save_encoder(folder / "reranker", BertForSequenceClassification)
    stage = Stage("convert", str(folder / "pairs"), {}, {})
    work = stage.begin()
    write_split(work, "questions", "train", rows or pairs(), PAIRS)
    write_split(work, "questions-corpus", "train", corpus or passages(), CORPUS)
    inference = [row | {"negatives": [row["positive"], SENTENCES[5]], "task": "inference"} for row in pairs()]
    write_split(work, "inference", "train", inference, PAIRS)
    tasks = {name: TASKS[name] | {"licence": "cc0-1.0", "path": "none/none"} for name in ("questions", "inference")}
    stage.finish(stage.manifest({name: {"train": 32} for name in tasks}, tasks=tasks))
    return folder


def recipe(folder: Path, stage: str, **keys) -> Path:
    """A recipe's YAML file for one stage."""
    own = {"score": {"dense_model": str(folder / "dense"), "depth": 6, "max_length": 32, "shard_size": 4,
                     "token_budget": 200, "batch_size": 8}, "mine": {"num_negatives": 3, "shard_size": 5}}[stage]
    file = folder / f"{stage}.yaml"
    file.write_text(yaml.safe_dump({"artifacts": str(folder), **own, **keys}), encoding="utf-8")
    return file


def start(launcher: list[str], folder: Path, stage: str, **keys) -> subprocess.Popen:
    """Starts a stage as users run it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [*launcher, f"recipes.{stage}", "--config", str(recipe(folder, stage, **keys))]
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def run(launcher: list[str], folder: Path, stage: str, **keys) -> subprocess.CompletedProcess:
    """Runs a stage to its end."""
    process = start(launcher, folder, stage, **keys)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
