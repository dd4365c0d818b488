"""Files of vectors, made a chunk at a time: memory does not grow with the texts, and a kill costs one chunk.

Until all is there, vectors lie in `<output>.partial`, beside how many of them are done and what they are made from.
`<output>.json` says of a finished file what it was made from; the same command again does nothing.
"""

import hashlib
import json
import shutil
import time
from itertools import islice
from pathlib import Path

import numpy as np

from anna_embed import writer
from anna_embed.digests import digest
from anna_embed.model.chunks import chunks
from anna_embed.model.loader import Loader, check_prompt_name
from anna_embed.model.text_files import STDIN, open_texts
from anna_embed.parsing import RecipeError

CHUNK_TEXTS, CHUNK_CHARACTERS = 4096, 2**17  # some 30,000 tokens: about 20 s of two cores with SmolLM2-135M
END = 2**16  # bytes at both ends of a file
KEY, DONE, VECTORS = ".key", "done", "vectors.npy"


def write_vectors(key: str, path: str, output: str, column: str | None, load: Loader, batch_size: int) -> None:
    """Encodes a file of texts into a file of vectors, in the texts' order.

    Args:
        key (`str`), path (`str`), column (`str`, *optional*): As for [`text_files.open_texts`].
        output (`str`): An `.npy` file of shape (texts, dimension), or a `.parquet` file with the columns `id`, `text`
            and `embedding`; float32. A search (`key` is `corpus`) replaces no file of another input.
        load ([`Loader`]): The model, and what is asked of it.
        batch_size (`int`): As for `encode`.

    Raises:
        [`RecipeError`]: a text, the model or the output is not what it must be.
    """
    if Path(output).suffix not in (".npy", ".parquet"):
        raise RecipeError(f"output: '{output}' is neither .npy nor .parquet; name it as one of them.")
    if Path(output).exists() and not _note(output).is_file():
        raise RecipeError(f"output: '{output}' is there and was not made by this command (it has no '{_note(output)}' "
                          "beside it); name another file, or delete it.")
    started, work = time.time(), Path(f"{output}.partial")
    # Before anything is written: many may search one corpus at once, and some in a folder that they can only read.
    if path != STDIN and Path(output).exists() and not work.exists() and _is_current(
            output, _made_from(open_texts(key, path, column, work), load)):
        return print(f"encode: {output} is up to date")
    source = _told(output).get("input", path)
    own = [Path(source).resolve(), Path(output).with_suffix("").resolve()]  # the latter by default
    if key == "corpus" and Path(output).exists() and Path(path).resolve() not in own:
        raise RecipeError(f"vectors: '{output}' holds those of '{source}'; name another file for those of '{path}', "
                          "or delete it.")
    work.mkdir(parents=True, exist_ok=True)
    with writer.claim("encode", work) or (work / writer.LOCK).open("a"):
        try:
            texts = open_texts(key, path, column, work)
            made_from = _made_from(texts, load)
            if _is_current(output, made_from):
                print(f"encode: {output} is up to date")
            else:
                vectors = _encode_all(texts, texts.count(), load, batch_size, work, _key(made_from))
                source = path if path == STDIN else str(Path(path).resolve())
                about = made_from | {"model": load.how.model, "input": source, "texts": len(vectors),
                                     "dimension": vectors.shape[1], "seconds": round(time.time() - started, 1)}
                _put(vectors, texts, work, Path(output), about)
                print(f"encode: made {output}: {len(vectors):,} vectors of {vectors.shape[1]} numbers in "
                      f"{about['seconds']:.0f} s")
        except RecipeError:
            if _read(work / DONE) in (None, "0"):
                shutil.rmtree(work)
            raise
        shutil.rmtree(work)


def _made_from(texts, load):
    return load.how.made_from | {"model_digest": load.located.digest, "column": texts.column,
                                 "input_digest": digest(texts.path)}


def _encode_all(texts, number, load, batch_size, work, key):
    """All vectors as a memory-mapped array; goes on where an interrupted run of exactly this stopped."""
    from tqdm.auto import tqdm

    model, how, file = load(), load.how, work / VECTORS
    check_prompt_name(model, how.prompt_name)
    encode = model.encode_document if how.document else model.encode
    dimension = how.truncate_dim or model.get_embedding_dimension()
    if _read(work / KEY) != key or not file.is_file():
        (work / KEY).unlink(missing_ok=True)  # before the file that it is the key of
        np.lib.format.open_memmap(file, "w+", np.float32, (number, dimension)).flush()
        _write(work / DONE, "0")
        _write(work / KEY, key)
    vectors, done = np.lib.format.open_memmap(file, "r+"), int(_read(work / DONE))
    needed, free = (number - done) * dimension * vectors.itemsize, shutil.disk_usage(work).free
    if needed > free:  # a mapped file that cannot grow ends the process without a word
        raise RecipeError(f"output: '{work}' needs {needed / 1e9:.3f} GB more and its disk has {free / 1e9:.3f} GB; "
                          "free some space, or name a file on another disk.")
    if done:
        print(f"encode: {done:,} of {number:,} texts were encoded before; going on", flush=True)
    with tqdm(total=number, initial=done, desc="encode", unit="text", smoothing=0.1) as progress:
        for chunk in chunks((text for _, text in islice(texts, done, None)), CHUNK_TEXTS, CHUNK_CHARACTERS):
            vectors[done: done + len(chunk)] = encode(
                chunk, prompt_name=how.prompt_name, prompt=how.prompt, batch_size=batch_size,
                truncate_dim=how.truncate_dim, show_progress_bar=False)
            vectors.flush()
            done += len(chunk)
            _write(work / DONE, str(done))
            progress.update(len(chunk))
    return vectors


def _put(vectors, texts, work, output, about):
    """Moves the finished vectors to where they belong; a kill in between leaves them to be moved the next time."""
    made = work / VECTORS
    if output.suffix == ".parquet":
        made = work / "vectors.parquet"
        _write_parquet(vectors, texts, made)
    output.unlink(missing_ok=True)  # before its note says that it is something else
    about = about | {"ends": _ends(made)}
    _note(output).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    made.rename(output)


def _write_parquet(vectors, texts, file):
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.list_(pa.float32(), vectors.shape[1])
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("embedding", kind)])
    rows = iter(texts)
    with pq.ParquetWriter(file, schema) as parquet:
        for start in range(0, len(vectors), CHUNK_TEXTS):
            part = np.ascontiguousarray(vectors[start: start + CHUNK_TEXTS])
            ids, strings = zip(*islice(rows, len(part)))
            embedding = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), vectors.shape[1])
            parquet.write_table(pa.table([pa.array(ids), pa.array(strings), embedding], schema=schema))


def _told(output):
    """What the note beside a file says of it."""
    try:
        return json.loads(_note(output).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _is_current(output, made_from):
    about = _told(output)
    return Path(output).is_file() and made_from.items() <= about.items() and about.get("ends") == _ends(Path(output))


def _ends(file):
    """A digest of a file's size, beginning and end, by which it is known again without reading all of it."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        first = stream.read(END)
        stream.seek(max(0, size - END))
        return hashlib.sha256(str(size).encode() + first + stream.read()).hexdigest()


def _note(output):
    return Path(f"{output}.json")


def _key(made_from):
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def _read(file):
    return file.read_text() if file.is_file() else None


def _write(file, content):
    """A kill leaves the old content or the new."""
    file.with_suffix(".tmp").write_text(content)
    file.with_suffix(".tmp").rename(file)
