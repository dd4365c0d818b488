"""Content digests: what an artifact is keyed by."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DESCRIBING = ("manifest.json", "README.md", "training_log.json")  # of the content, or of the time it took


def digest(path: Path) -> str:
    """SHA-256 over the names and contents of a folder's files (cards, manifests, logs and hidden files left out)."""
    if path.is_file():
        return _sha256(path)
    total = hashlib.sha256()
    for file in sorted(visible_files(path)):
        name = file.relative_to(path).as_posix()
        if file.is_file() and name not in DESCRIBING:
            total.update(f"{name}\0{_sha256(file)}\0".encode())
    return total.hexdigest()


def visible_files(path: Path) -> Iterator[Path]:
    """The files in a folder that are not hidden, also those behind links to other folders."""
    for folder, inside, names in os.walk(path, followlinks=True):
        inside[:] = [name for name in inside if not name.startswith(".") and not _leads_back(Path(folder, name))]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _leads_back(folder):
    """Whether it is a link to a folder that holds the link."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def digest_of(facts: dict[str, Any]) -> str:
    """SHA-256 over names and values."""
    return hashlib.sha256(json.dumps(_sortable(facts), sort_keys=True, default=str).encode()).hexdigest()


def _sortable(value):
    """Dictionaries whose keys are of several types (labels: 0, 1 and '-') with strings for keys."""
    if isinstance(value, dict):
        mixed = len({type(key) for key in value}) > 1
        return {str(key) if mixed else key: _sortable(v) for key, v in value.items()}
    return [_sortable(v) for v in value] if isinstance(value, (list, tuple)) else value


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def code_digest() -> str:
    """SHA-256 of the package's own source: recorded with every artifact, never a key."""
    total = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        total.update(f"{file.relative_to(Path(__file__).parent)}\0".encode() + file.read_bytes())
    return total.hexdigest()
