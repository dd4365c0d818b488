"""The tokenizer as training, export and inference all use it: EOS by id, after truncation."""

from collections.abc import Sequence

from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from anna_embed.parsing import RecipeError, in_short


def load_tokenizer(path: str, max_length: int):
    """A fast tokenizer whose post-processor adds EOS (and BOS where the model has one) after truncation.

    The post-processor is saved with the tokenizer, so that stock libraries append the same tokens.

    Args:
        path (`str`): A model's folder.
        max_length (`int`): Longest text in tokens, BOS and EOS included.

    Raises:
        [`RecipeError`]: the model has no tokenizer, or its tokenizer no EOS token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise RecipeError(f"model_name_or_path: the tokenizer of '{path}' cannot be read ({in_short(error)}); put its "
                          "files into that folder.") from None
    check_words(tokenizer, path, "model_name_or_path")
    if tokenizer.eos_token_id is None:
        raise RecipeError(f"model_name_or_path: the tokenizer of '{path}' has no EOS token, whose state is the "
                          "embedding; set eos_token in its tokenizer_config.json, or take another model.")
    ids, own = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    start = next((n for n in reversed(range(len(ids))) if ids[n: n + len(own)] == own), 0)
    before = tokenizer.convert_ids_to_tokens(ids[:start])  # BOS, or what else the model wants in front
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=[*before, "$A", tokenizer.eos_token],
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in {*before, tokenizer.eos_token}])
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token  # pooling reads the mask, not the id
    tokenizer.chat_template = None  # sentence-transformers 6.2 would wrap every text in it
    tokenizer.model_max_length = max_length
    tokenizer.padding_side = tokenizer.truncation_side = "right"  # cut on the left a long text would lose its prompt
    return tokenizer


def check_words(tokenizer, path: str, key: str) -> None:
    """Raises [`RecipeError`] if a tokenizer has special tokens only. For a model without a tokenizer's files
    transformers makes up such a one, to which all words are the same. `key` is the recipe's that names the model."""
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise RecipeError(f"{key}: '{path}' has no tokenizer, and one that was made up knows no words; put the "
                          "tokenizer's files into that folder.")


def tokenize(tokenizer, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of whole strings, cut to `max_length` with EOS kept last."""
    return tokenizer(list(texts), truncation=True, max_length=max_length, padding=False)["input_ids"]


def cut_to_fit(tokenizer, prompt: str, texts: Sequence[str], max_length: int) -> list[str]:
    """Each text cut so that prompt, text and special tokens fit into `max_length`.

    The cut is made on the string, at a token's end, so that a stock library which is given prompt and text makes the
    same tokens of them. A text becomes empty where the prompt alone is too long.
    """
    cut, room = list(texts), max_length - tokenizer.num_special_tokens_to_add()
    left = range(len(cut))
    while left:  # again, as a string that was cut inside a word or character may have other tokens at its end
        encoded = tokenizer([prompt + cut[i] for i in left], add_special_tokens=False, return_offsets_mapping=True,
                            verbose=False)  # it would warn of texts beyond the limit, which is why they are here
        longer = [(i, ends) for i, ends in zip(left, encoded["offset_mapping"]) if len(ends) > room and cut[i]]
        for i, ends in longer:
            cut[i] = cut[i][: min(max(ends[room - 1][1] - len(prompt), 0), len(cut[i]) - 1)]
        left = [i for i, _ in longer]
    return cut
