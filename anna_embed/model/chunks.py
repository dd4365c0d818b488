"""Many texts a part at a time."""

from collections.abc import Iterable, Iterator


def chunks(texts: Iterable[str], most: int, characters: int) -> Iterator[list[str]]:
    """Neighbours, in order, so that memory does not grow with the number of texts.

    Args:
        texts (`Iterable[str]`): Any number.
        most (`int`): Texts of a chunk at most.
        characters (`int`): Characters of a chunk at most; a longer text is a chunk of its own.
    """
    chunk, held = [], 0
    for text in texts:
        if chunk and (len(chunk) == most or held + len(text) > characters):
            yield chunk
            chunk, held = [], 0
        chunk.append(text)
        held += len(text)
    if chunk:
        yield chunk
