"""Ours, the stock library's and FlagEmbedding's encoder of one folder, called alike."""

import sentence_transformers

import anna_embed
from anna_embed.model.load import Embedder
from benchmarks.timing import timed

BATCH_SIZES = (16, 32, 64, 128, 8)  # tried until two in a row are slower than the best
LIMIT = 2048  # tokens of prompt and text


def load(system: str, folder: str, dtype: str):
    """
    Args:
        system (`str`): `"ours"`, `"stock"` or `"FlagICLModel"`.
        folder (`str`): a SentenceTransformer's, whose tokenizer adds EOS.
        dtype (`str`): of the weights.
    """
    if system == "FlagICLModel":
        return _load_icl(folder, dtype)
    loader = anna_embed.load if system == "ours" else sentence_transformers.SentenceTransformer
    model = loader(folder, model_kwargs={"dtype": dtype})
    model.max_seq_length = LIMIT
    return model


def _load_icl(folder, dtype):
    from FlagEmbedding import FlagICLModel

    return FlagICLModel(folder, use_fp16=False, use_bf16=dtype == "bfloat16", suffix="", query_max_length=LIMIT)


def encode(model, texts: list[str], prompt: str, batch_size: int):
    """One call, the same strings for all. Ours does not know the prompt from a call before."""
    if isinstance(model, Embedder):
        model.prefix_states.kept.clear()
    if isinstance(model, sentence_transformers.SentenceTransformer):
        return model.encode(texts, prompt=prompt, batch_size=batch_size, normalize_embeddings=True)
    model.prefix = prompt  # what `set_examples` writes, in a format of its own
    return model.encode_queries(texts, batch_size=batch_size)


def fastest_batch_size(model, texts: list[str], prompt: str) -> tuple[int, dict[int, float]]:
    """Of a peer, on the first texts; and the seconds of each that was tried."""
    seconds, slower, texts = {}, 0, texts[: max(BATCH_SIZES)]
    encode(model, texts[:8], prompt, 8)
    for size in BATCH_SIZES:
        seconds[size] = timed(encode, model, texts, prompt, size)
        slower = 0 if seconds[size] == min(seconds.values()) else slower + 1
        if slower == 2:
            break
    return min(seconds, key=seconds.get), {size: round(taken, 2) for size, taken in seconds.items()}
