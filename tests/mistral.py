"""A tiny random Mistral with Mistral's own tokenizer, laid out as the Hub's copy of Mistral-7B-v0.1, and two tiny
teachers: what the recipe for 7B runs on in the tests."""

import hashlib
import json
import shutil
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from sentencepiece import SentencePieceProcessor
from small import small_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, MistralConfig, MistralForCausalLM

WINDOW = 16  # tokens that a layer looks back; the real one's is 4,096
SHA256 = "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055"  # of Mistral-7B-v0.1's tokenizer.model
SPECIAL = ["<unk>", "<s>", "</s>"]
# As in the tokenizer_config.json of such models: BOS is added, EOS is not.
CONFIG = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": True,
          "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None, "sp_model_kwargs": {},
          "model_max_length": int(1e30), "clean_up_tokenization_spaces": False}


def tokenizer_file() -> Path:
    """The sentencepiece model in the wheel mistral-common, which need not be importable.

    Raises:
        `AssertionError`: it is not the one of Mistral-7B-v0.1.
    """
    path = Path(find_spec("mistral_common").origin).parent / "data" / "tokenizer.model.v1"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256
    return path


def sentencepiece_ids(text: str) -> list[int]:
    """The oracle: what the model's makers tokenise with, without BOS and EOS."""
    return _processor().encode(text)


@cache
def _processor():
    return SentencePieceProcessor(model_file=str(tokenizer_file()))


def fast_tokenizer() -> Tokenizer:
    """The sentencepiece model as BPE: of all merges that are possible, the one with the best score of its result comes
    first, so the merges are sorted by it. (transformers 5 puts those of white space in front when it converts.)"""
    pieces = _processor()
    names = [pieces.id_to_piece(n) for n in range(pieces.vocab_size())]
    vocab = {name: n for n, name in enumerate(names)}
    merges = []
    for n, name in enumerate(names):
        if not pieces.is_byte(n) and name not in SPECIAL:
            halves = [(name[:k], name[k:]) for k in range(1, len(name))]
            merges += [(-pieces.get_score(n), n, vocab[left], (left, right)) for left, right in halves
                       if left in vocab and right in vocab]
    ranked = [halves for *_, halves in sorted(merges)]
    tokenizer = Tokenizer(models.BPE(vocab, ranked, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def save_tokenizer(folder: Path) -> None:
    """All files of the Hub's copy: readers choose among them, and some rebuild one from another."""
    folder.mkdir(parents=True, exist_ok=True)
    fast_tokenizer().save(str(folder / "tokenizer.json"))
    shutil.copy(tokenizer_file(), folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(json.dumps(CONFIG))
    named = {key: CONFIG[key] for key in ("bos_token", "eos_token", "unk_token")}
    (folder / "special_tokens_map.json").write_text(json.dumps(named))


def save_mistral(folder: Path) -> None:
    """A random Mistral of two layers (32 dims) whose window is shorter than most texts, in bfloat16 as on the Hub."""
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(
        vocab_size=32000, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=32768, sliding_window=WINDOW, rope_theta=10000.0,
        rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=None, tie_word_embeddings=False))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.normal_(0, 0.2)  # sharp attention: what is wrong with a mask or position shows
    model.to(torch.bfloat16).save_pretrained(folder)
    save_tokenizer(folder)


def save_teachers(retriever: Path, reranker: Path) -> None:
    """A random sentence encoder and a random cross-encoder with one output: plumbing, they know nothing."""
    torch.manual_seed(1)
    tokenizer = small_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=512, num_labels=1, initializer_range=1.0,
                        **sizes)  # with small weights all texts would be alike, and none a negative of any
    for folder, kind in ((retriever, BertModel), (reranker, BertForSequenceClassification)):
        kind(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    encoder = Transformer(str(retriever), max_seq_length=512)
    dense = SentenceTransformer(modules=[encoder, Pooling(32, pooling_mode="cls")])
    dense.save_pretrained(str(retriever), create_model_card=False)
    CrossEncoder(str(reranker), max_length=512).save_pretrained(str(reranker), create_model_card=False)
