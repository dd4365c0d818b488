"""The files that make a folder of weights a SentenceTransformer, in the style that releases 5.x and 6.x both load."""

import json
from pathlib import Path

# Releases before 5.4 cannot import the module paths that 6.x writes; 6.x still reads these.
MODULES = [("0", "", "sentence_transformers.models.Transformer"),
           ("1", "1_Pooling", "sentence_transformers.models.Pooling"),
           ("2", "2_Normalize", "sentence_transformers.models.Normalize")]
TOKENIZER_KEYS = ("bos_token", "eos_token", "unk_token", "pad_token", "model_max_length", "padding_side")
POOLING_MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


def write_layout(folder: Path, dimension: int, max_seq_length: int, prompts: dict[str, str]) -> None:
    """Writes modules, last-token pooling, normalisation and prompts beside weights and tokenizer.

    Args:
        folder (`Path`): Holds the weights and the tokenizer.
        dimension (`int`): Of the embeddings.
        max_seq_length (`int`): In tokens, EOS included.
        prompts (`dict[str, str]`): Prefix by name. There is no default prompt: queries and documents differ.
    """
    modules = [{"idx": int(i), "name": i, "path": path, "type": kind} for i, path, kind in MODULES]
    pooling = {"word_embedding_dimension": dimension, "include_prompt": True,
               **{f"pooling_mode_{mode}": mode == "lasttoken" for mode in POOLING_MODES}}
    config = {"__version__": {"sentence_transformers": "5.0.0", "transformers": "4.51.0", "pytorch": "2.7.0"},
              "model_type": "SentenceTransformer", "prompts": prompts, "default_prompt_name": None,
              "similarity_fn_name": "cosine"}
    files = {"modules.json": modules, "1_Pooling/config.json": pooling, "config_sentence_transformers.json": config,
             "sentence_bert_config.json": {"max_seq_length": max_seq_length, "do_lower_case": False}}
    (folder / "2_Normalize").mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def portable_tokenizer(folder: Path) -> None:
    """Names a tokenizer class that transformers 4 and 5 both have; the tokenizer itself is all in tokenizer.json.

    What else a `tokenizer_config.json` holds would undo it: some classes rebuild the post-processor from
    `add_bos_token` and lose EOS, 4.x stops at the list of `extra_special_tokens` that 5.x writes, and
    sentence-transformers 6.2 wraps every text in a `chat_template`.
    """
    path = folder / "tokenizer_config.json"
    config = {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if k in TOKENIZER_KEYS}
    # 4.x would return token_type_ids too, which decoders do not take
    config |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"],
               "clean_up_tokenization_spaces": False}
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").unlink(missing_ok=True)


def portable_config(folder: Path, dtype: str) -> None:
    """Adds the rotary settings as transformers 4 reads them; without, it takes its default and says nothing.

    `dtype` is that of the weights in the folder; saving wrote down the type of the model in memory.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"dtype": dtype}
    rope = config.get("rope_parameters") or {}
    if "full_attention" in rope:  # Gemma 3: one setting per type of layer
        config["rope_local_base_freq"] = rope.get("sliding_attention", rope["full_attention"])["rope_theta"]
        rope = rope["full_attention"]
    if "rope_theta" in rope:
        apart = {k: rope[k] for k in ("rope_theta", "partial_rotary_factor") if k in rope}
        scaling = {k: v for k, v in rope.items() if k not in apart}
        if scaling.get("rope_type", "default") == "default":
            scaling = None
        elif config["model_type"] == "phi3" and "short_factor" in scaling and "factor" not in scaling:
            # 4 refuses any other key, and derives the factor from the two numbers of positions
            scaling = {"type": "longrope", **{k: scaling[k] for k in ("short_factor", "long_factor")}}
        config |= {**apart, "rope_scaling": scaling}
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
