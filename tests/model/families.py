"""Random decoders of two layers of several families, as SentenceTransformer folders, and texts of every length."""

import random
from pathlib import Path

import torch
from small import SENTENCES, small_tokenizer
from transformers import AutoConfig, AutoModel

from anna_embed.model.encode import lay_out_untrained

LIMIT = 640
WINDOW = 24  # shorter than most texts and than every few-shot prompt
LAYERS = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
FAMILIES = {"llama": {}, "mistral": {"sliding_window": WINDOW}, "qwen3": {}, "gemma3_text": LAYERS}
ODD = ["", "a", " ", "\n", "🙂", "\u200d👩‍👩‍👧", "two  spaces\n\nlines", "</s> <|endoftext|>", "é́", "Query: Query:"]
INSTRUCTION = "Given a question, find the passage that answers it"
EXAMPLES = [(SENTENCES[n].split(",")[0].lower(), SENTENCES[n + 1]) for n in range(0, 10, 2)]


def save_family(folder: Path, model_type: str) -> Path:
    """Writes a model whose attention is sharp enough that a wrong mask shows; returns its folder."""
    tokenizer = small_tokenizer()
    known = AutoConfig.for_model(model_type).to_dict()
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 1024,
             "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None, "pad_token_id": None}
    sizes = {key: value for key, value in sizes.items() if key in known}
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(model_type, **sizes, **FAMILIES[model_type]))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(0, 0.15 if weight.ndim > 1 else 0.05)
    for part in ("base", "model"):
        (folder / part).mkdir(parents=True)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    lay_out_untrained(str(folder / "base"), folder / "model")
    return folder / "model"


def texts_of_every_length(number: int, seed: int = 0) -> list[str]:
    """Real sentences, joined to texts of 1 to 600 tokens; odd ones, some longer than the limit, and repetitions."""
    draw, texts = random.Random(seed), [*ODD, " ".join(SENTENCES * 2), " ".join(SENTENCES[::-1] * 2)]
    while len(texts) < number:
        words = " ".join(draw.choices(SENTENCES, k=draw.choice((1, 1, 2, 4, 16)))).split()
        texts.append(" ".join(words[: draw.randint(1, len(words))]))
    texts[number // 2] = texts[number // 3]
    draw.shuffle(texts)
    return texts
