"""Where an artifact was made and by what: recorded with it, never a key."""

import os
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path

from yaml import YAMLError


def code_commit() -> str | None:
    """The commit of the checkout that this code runs from, with `-dirty` behind it if files differ from it."""
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"})
    except OSError:  # there is no git
        return None
    return found.stdout.strip() or None if (root / ".git").exists() else None


def hardware() -> str:
    """Processor and GPUs, without the machine's name: `2 cores of Intel Xeon, 8 x NVIDIA H100`."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    shown = f"{os.cpu_count()} cores of {model or platform.processor() or platform.machine()}"
    torch = sys.modules.get("torch")  # a stage that computes has imported it; the others need not wait for it
    gpus = Counter(map(torch.cuda.get_device_name, range(torch.cuda.device_count()))) if torch else {}
    return ", ".join([shown, *(f"{number} x {name}" for name, number in gpus.items())])


def licence_of(folder: str | Path) -> str | None:
    """The licence that a model's own card names, with its name if it is none of the Hub's; None if it names none."""
    from huggingface_hub import metadata_load

    card = Path(folder, "README.md")
    try:
        front = (metadata_load(card) or {}) if card.is_file() else {}
    except (YAMLError, ValueError):
        return None
    named = front.get("license")
    named = front.get("license_name", named) if named == "other" else named
    return ", ".join(map(str, named)) if isinstance(named, list) else named
