"""What a text is here: stripped, and named by its content."""

import hashlib
import math
import re
from collections.abc import Iterable
from typing import Any

INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")  # soft hyphen, zero-width characters, byte order mark
BLANK = re.compile(rf"(\s|{INVISIBLE.pattern})*")


def clean(value: Any) -> str:
    """A text without white space around it; the empty string for what is no text, or none that one can see.

    A column of whole numbers with an empty field comes as floats: 1.0 is the label 1, and NaN is none.
    """
    if isinstance(value, float):
        value = None if math.isnan(value) else int(value) if value.is_integer() else value
    text = "" if value is None else str(value).strip()
    return "" if BLANK.fullmatch(text) else text


def join(values: Iterable[Any]) -> str:
    """Texts in one, parted by a space; an empty one leaves no space behind."""
    return " ".join(text for text in map(clean, values) if text)


def text_id(text: str) -> str:
    """A name for a text that does not depend on its place in a file."""
    return hashlib.sha1(text.encode()).hexdigest()[:16]


def by_hash(names: Iterable[str], seed: int) -> list[str]:
    """Names in an order that depends on themselves and the seed only: a shuffle, whatever the order in the file."""
    return sorted(names, key=lambda name: hashlib.sha1(f"{seed}:{name}".encode()).digest())
