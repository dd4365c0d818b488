"""The `tasks` of a recipe: known sources with what differs, and sources described there."""

import difflib
import textwrap
from dataclasses import asdict, fields, replace
from typing import Any

from anna_embed.data.source import Source
from anna_embed.data.sources import SOURCES
from anna_embed.parsing import RecipeError

KNOWN = {source.name: source for source in SOURCES}


def read_tasks(tasks: list[dict[str, Any]]) -> list[Source]:
    """The `tasks` of a recipe as sources.

    Raises:
        [`RecipeError`]: no name, or one that is no text, an unknown name without a path, an unknown key, or the same
            name twice.
    """
    found, keys = {}, sorted(f.name for f in fields(Source))
    for task in tasks:
        name = task.get("name")
        if name is not None and not isinstance(name, str):
            raise RecipeError(f"tasks: name: {name!r} is no text; put it in quotation marks: name: '{name}'.")
        if not name:
            raise RecipeError(f"tasks: {task!r} has no 'name'; add one, for example name: my_pairs.")
        for key in task:
            if key not in keys:
                raise RecipeError(f"tasks: {name}: unknown key '{key}' (value {task[key]!r}){_meant(key, keys)}; "
                                  f"the keys are {', '.join(keys)}.")
        if name in found:
            raise RecipeError(f"tasks: '{name}' stands twice; give the second a name of its own.")
        if name not in KNOWN and not {"kind", "path", "columns"} <= set(task):
            raise RecipeError(f"tasks: '{name}' is not in the sources table{_meant(name, KNOWN)}; take a name that "
                              "`python -m anna_embed sources` lists, or describe the task with kind, path, columns.")
        known = KNOWN.get(name)
        source = replace(known, **task) if known else Source(**task)
        found[name] = _with_literal_instruction(source, known)
    return list(found.values())


def _with_literal_instruction(source, known):
    """`instruction: literal` stands for the report's own words, slips included."""
    if source.instruction != "literal":
        return source
    if known is None:
        raise source.error("instruction: 'literal' is for tasks of the table; write the instruction.")
    return replace(source, instruction=source.literal_instruction or known.instruction)


def _meant(word, words):
    lower = {w.lower(): w for w in words}
    close = difflib.get_close_matches(str(word).lower(), lower, n=1)
    return f" (did you mean '{lower[close[0]]}'?)" if close else ""


def show_table() -> str:
    """Every known source on one line: name, kind, dataset, split and licence, in columns."""
    rows = [("TASK", "KIND", "DATASET", "SPLIT", "LICENCE")]
    rows += [(s.name, s.kind, s.path + (f" ({s.config})" if s.config else ""), s.split, s.licence) for s in SOURCES]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths + [0])).rstrip() for row in rows)


def show_source(name: str) -> str:
    """All that the table knows of one source.

    Raises:
        [`RecipeError`]: there is no such source.
    """
    if name not in KNOWN:
        raise RecipeError(f"sources: '{name}' is not in the table{_meant(name, KNOWN)}; `python -m anna_embed "
                          "sources` lists the names.")
    lines = [name]
    for key, value in list(asdict(KNOWN[name]).items())[1:]:
        if value or value == 0:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            lines.append(textwrap.fill(text, 110, initial_indent=f"  {key:<21}", subsequent_indent=" " * 23,
                                       break_long_words=False, break_on_hyphens=False))
    return "\n".join(lines)
