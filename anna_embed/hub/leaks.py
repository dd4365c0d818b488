"""No token of the Hub leaves this machine inside a file."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet

from anna_embed import hub_tokens
from anna_embed.parsing import RecipeError

TOKEN = re.compile(hub_tokens.TOKEN.pattern.encode())
LONGEST = 4096  # bytes of a token; of two blocks read one after the other so much is looked at together


def holds_token(blocks: Iterator[bytes], live: bytes) -> bool:
    """Whether a token is in a stream of bytes: one that looks like the Hub's, or `live`, whatever it looks like."""
    tail = b""
    for block in blocks:
        window = tail + block
        if TOKEN.search(window) or (live and live in window):
            return True
        tail = window[-LONGEST:]
    return False


def texts(source: Path | bytes) -> Iterator[bytes]:
    """The texts of a parquet file, whose bytes are compressed and would hide them; nothing if it is none.

    Raises:
        [`RecipeError`]: its rows cannot be read, so that nobody knows what is in them.
    """
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except pyarrow.ArrowInvalid:
        return
    with file:
        try:
            for batch in file.iter_batches():
                for column in batch.columns:
                    yield from _strings(column)
        except (pyarrow.ArrowException, OSError) as error:
            raise RecipeError(f"artifacts: the rows of '{source}' cannot be read ({' '.join(str(error).split())}); "
                              "delete the folder and run its stage again.") from None


def _strings(column) -> Iterator[bytes]:
    while pyarrow.types.is_list(column.type) or pyarrow.types.is_large_list(column.type):
        column = column.flatten()
    if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
        yield from (buffer.to_pybytes() for buffer in column.buffers()[2:] if buffer)
        yield b"\n"
