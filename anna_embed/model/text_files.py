"""Files of texts, read a line at a time: `.txt` holds a text a line, `.jsonl` an object a line."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anna_embed.parsing import RecipeError

STDIN = "-"
ID_COLUMNS = ("id", "_id")  # the second is BEIR's


@dataclass(frozen=True)
class TextFile:
    """A file of texts.

    Args:
        path (`Path`): The file.
        column (`str`, *optional*): Where the text stands in each object; None for a text a line.
        key (`str`): The option that names the file, for error messages.
        piped (`bool`): It was the standard input.
    """

    path: Path
    column: str | None
    key: str = "input"
    piped: bool = False

    def __str__(self) -> str:
        return "the standard input" if self.piped else f"'{self.path}'"

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Id and text of each. A text without an id gets its number; blank lines count in a `.txt` only.

        Raises:
            [`RecipeError`]: a line is not what it must be.
        """
        number = 0
        with self.path.open(encoding="utf-8-sig", newline="\n") as lines:
            try:
                for at, line in enumerate(lines, start=1):
                    if self.column is None:
                        yield str(number), line.rstrip("\r\n")
                    elif line.strip():
                        yield self._parsed(line, at, number)
                    else:
                        continue
                    number += 1
            except UnicodeDecodeError:
                raise RecipeError(f"{self.key}: {self} is not UTF-8; convert it, for example with iconv -t "
                                  "utf-8.") from None

    def count(self) -> int:
        """How many texts it holds; reads all of it, so that a wrong line is found before hours of work.

        Raises:
            [`RecipeError`]: it holds none, or a line is not what it must be.
        """
        number = sum(1 for _ in self)
        if number == 0:
            raise RecipeError(f"{self.key}: {self} holds no texts; give at least one.")
        return number

    def _parsed(self, line, at, number):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise self._wrong(at, f"is no JSON ({error})", "write one object a line") from None
        if not isinstance(row, dict):
            raise self._wrong(at, f"holds a {type(row).__name__}", f'write an object, {{"{self.column}": "..."}}')
        if self.column not in row:
            raise self._wrong(at, f"has no column '{self.column}' (it has {', '.join(row) or 'none'})",
                              "name the texts' column with --column")
        text = row[self.column]
        if not isinstance(text, str):
            raise self._wrong(at, f"has a {type(text).__name__} in the column '{self.column}', not a string",
                              "mend or leave out that line")
        if not is_unicode(text):
            raise self._wrong(at, f"has half a character (a lone surrogate) in the column '{self.column}'",
                              "mend or leave out that line")
        name = str(next((row[name] for name in ID_COLUMNS if row.get(name) is not None), number))
        if not is_unicode(name):
            raise self._wrong(at, "has half a character (a lone surrogate) in its id", "mend or leave out that line")
        return name, text

    def _wrong(self, at, what, remedy):
        return RecipeError(f"{self.key}: line {at} of {self} {what}; {remedy}.")


def is_unicode(text: str) -> bool:
    """Whether a string can be written as UTF-8; JSON lets a lone surrogate through, and tokenizers take none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def open_texts(key: str, path: str, column: str | None, work: Path) -> TextFile:
    """The texts that an option names.

    Args:
        key (`str`): The option.
        path (`str`): A `.txt` or `.jsonl` file, or `-` for the standard input, which is kept in `work`: texts a line,
            or objects if a column is named.
        column (`str`, *optional*): Where the text stands in each object, `text` by default.
        work (`Path`): A folder.

    Raises:
        [`RecipeError`]: there is no such file, or it is of another format.
    """
    if path == STDIN:
        kept = work / "input"
        with kept.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        return TextFile(kept, column, key, piped=True)
    file = Path(path)
    if not file.is_file():
        raise RecipeError(f"{key}: there is no file '{path}'; give a .jsonl or .txt file.")
    if file.suffix not in (".jsonl", ".txt"):
        raise RecipeError(f"{key}: '{path}' is neither .jsonl nor .txt; write it as one of them.")
    if file.suffix == ".txt" and column is not None:
        raise RecipeError(f"column: '{path}' is a .txt file, which has no column '{column}'; leave --column out.")
    return TextFile(file, (column or "text") if file.suffix == ".jsonl" else None, key)
