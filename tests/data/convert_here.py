"""The convert stage, run as users run it but in this process."""

import json

import pytest
import yaml
from datasets import load_dataset

from anna_embed.artifacts import digest
from anna_embed.config import ConvertConfig
from anna_embed.parsing import one_sentence, parse
from recipes import convert


class Stage:
    """The convert stage on files of a temporary folder.

    Args:
        folder (`Path`): Holds data files, recipe and artifacts.
        capsys (*optional*): pytest's capture of what is printed; `run` and `error` need it.
    """

    def __init__(self, folder, capsys=None):
        self.folder, self.capsys = folder, capsys
        self.pairs = folder / "artifacts" / "pairs"

    def data(self, name, rows):
        """Writes a data file and returns its path; `rows` may be the raw text of one."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
        return str(path)

    def make(self, tasks, *arguments, **keys):
        """Runs the recipe."""
        recipe = self.folder / "convert.yaml"
        recipe.write_text(yaml.safe_dump({"artifacts": str(self.folder / "artifacts"), "tasks": tasks, **keys}))
        with one_sentence():
            convert.main(*parse(ConvertConfig, ["--config", str(recipe), *arguments]))

    def run(self, tasks, *arguments, **keys):
        """Runs the recipe and returns what it said on standard output."""
        self.capsys.readouterr()
        self.make(tasks, *arguments, **keys)
        return self.capsys.readouterr().out

    def error(self, tasks, *arguments, **keys):
        """Runs a recipe that must be refused, and returns the one sentence that says why."""
        with pytest.raises(SystemExit) as stopped:
            self.run(tasks, *arguments, **keys)
        assert stopped.value.code == 2
        lines = [line for line in self.capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        return lines[0]

    def rows(self, name, split="train"):
        """Rows of the artifact as `load_dataset` gives them; without a cache of its own it would give older ones."""
        cache = str(self.folder / "cache" / digest(self.pairs))
        return load_dataset(str(self.pairs), name, split=split, cache_dir=cache)

    def manifest(self):
        return json.loads((self.pairs / "manifest.json").read_text(encoding="utf-8"))
