"""Artifacts: folders in Hub layout that a stage writes whole or not at all, keyed by what they were made from.

A stage writes into `<output>.partial`; a kill leaves that folder, and the same command goes on in it. When all is
written the manifest and the card are added and the folder takes its name by one rename.
"""

import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from anna_embed.config.base import HOW
from anna_embed.parsing import RecipeError

MANIFEST, CARD = "manifest.json", "README.md"
PACKAGES = ("accelerate", "bm25s", "datasets", "huggingface-hub", "mteb", "numpy", "peft", "sentence-transformers",
            "tokenizers", "torch", "transformers", "trl")


@dataclass(frozen=True)
class Located:
    """Where an input is: a local `path`, or (a source dataset on the Hub) its id; `digest` names its content."""

    reference: str
    path: str
    digest: str
    commit: str | None = None


def locate(key: str, reference: str, repo_type: str, mirrors: list[str], download: bool = True) -> Located:
    """Finds a folder, file or Hub id (`org/name` or `org/name@revision`).

    Args:
        key (`str`): The key of the recipe that names it, for the error message.
        reference (`str`): A local path, or a Hub id.
        repo_type (`str`): `"model"` or `"dataset"`.
        mirrors (`list[str]`): Looked through in order; if there is one, the network is never asked.
        download (`bool`): False for datasets that `load_dataset` fetches itself, file by file.

    Raises:
        [`RecipeError`]: nothing is there.
    """
    if Path(reference).exists():
        return Located(reference, reference, digest(Path(reference)))
    name, _, revision = reference.partition("@")
    for mirror in mirrors:
        path = Path(mirror) / f"{repo_type}s" / name
        if path.is_dir():
            return Located(reference, str(path), digest(path))
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or reference.startswith(("artifacts/", "recipes/", ".", "/")):
        raise RecipeError(f"{key}: there is nothing at '{reference}'; run the stage that makes it, or give a folder or "
                          "a Hub id (org/name).")
    if mirrors:
        raise RecipeError(f"{key}: no mirror holds the {repo_type} '{name}' (looked for {repo_type}s/{name} in "
                          f"{', '.join(mirrors)}); put it there, or leave --mirror out to read it from the Hub.")
    return _from_hub(key, reference, name, revision or None, repo_type, download)


def _from_hub(key, reference, name, revision, repo_type, download):
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        commit = HfApi().repo_info(name, repo_type=repo_type, revision=revision).sha
        path = HfApi().snapshot_download(name, repo_type=repo_type, revision=commit) if download else name
    except (HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RecipeError(f"{key}: the {repo_type} '{reference}' is neither a folder here nor readable from the Hub "
                          f"({reason}); check the name, log in with `hf auth login`, or give --mirror.") from None
    return Located(reference, path, f"hub:{commit}", commit)


def digest(path: Path) -> str:
    """SHA-256 over the names and contents of a folder's files (cards, manifests and hidden files left out)."""
    if path.is_file():
        return _sha256(path)
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_file() and name not in (MANIFEST, CARD) and not any(p.startswith(".") for p in name.split("/")):
            total.update(f"{name}\0{_sha256(file)}\0".encode())
    return total.hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def code_digest() -> str:
    """SHA-256 of the package's own source: recorded with every artifact, never a key."""
    total = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        total.update(f"{file.relative_to(Path(__file__).parent)}\0".encode() + file.read_bytes())
    return total.hexdigest()


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of an artifact, or an empty dictionary for a folder that no stage of ours made."""
    file = Path(folder) / MANIFEST
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


@dataclass
class Stage:
    """One run of one stage.

    Args:
        name (`str`): The stage.
        output (`str`): The artifact's folder.
        given (`dict`): The keys that the recipe states; those in `config.HOW` do not make another artifact.
        parents (`dict[str, Located]`): What it is made from.
    """

    name: str
    output: str
    given: dict[str, Any]
    parents: dict[str, Located]
    started: float = field(default_factory=time.time)

    @property
    def config(self) -> dict[str, Any]:
        return {k: v for k, v in sorted(self.given.items()) if k not in HOW and k not in self.parents}

    @property
    def key(self) -> str:
        made_from = {"stage": self.name, "config": self.config, "parents": {k: p.digest for k, p in self.parents.items()}}
        return hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def is_current(self) -> bool:
        """Whether the artifact is there, whole, and made from exactly this."""
        manifest = read_manifest(self.output)
        return manifest.get("key") == self.key and manifest.get("content") == digest(Path(self.output))

    @property
    def work(self) -> Path:
        return Path(f"{self.output}.partial")

    def begin(self) -> Path:
        """The folder to write into: what an interrupted run of exactly this left there, or an empty one."""
        note = self.work / ".key"
        if self.work.exists() and (not note.is_file() or note.read_text() != self.key):
            shutil.rmtree(self.work)
        self.work.mkdir(parents=True, exist_ok=True)
        note.write_text(self.key)
        return self.work

    def manifest(self, rows: dict[str, Any], dropped: list[dict] = (), **more: Any) -> dict[str, Any]:
        """What the card is rendered from. `dropped`: dictionaries with `task`, `reason` and `rows`."""
        return {
            "stage": self.name, "artifact": Path(self.output).name, "key": self.key, "content": digest(self.work),
            "config": json.loads(json.dumps(self.config, default=str)),
            "parents": {k: {"reference": p.reference, "digest": p.digest, "commit": p.commit}
                        for k, p in self.parents.items()},
            "packages": {name: version(name) for name in PACKAGES}, "code": code_digest(),
            "seconds": round(time.time() - self.started, 1), "rows": rows, "dropped": list(dropped), **more,
        }

    def finish(self, manifest: dict[str, Any]) -> None:
        """Writes the manifest and puts the whole folder in its place; a reader sees the old artifact or the new."""
        (self.work / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for hidden in self.work.glob(".*"):
            shutil.rmtree(hidden) if hidden.is_dir() else hidden.unlink()
        old = Path(f"{self.output}.old")
        shutil.rmtree(old, ignore_errors=True)
        if Path(self.output).exists():
            os.rename(self.output, old)
        os.rename(self.work, self.output)
        shutil.rmtree(old, ignore_errors=True)
        print(f"{self.name}: made {self.output} in {manifest['seconds']:.0f} s", flush=True)


def go_offline() -> None:
    """With a mirror nothing may touch the network: call it before the libraries that would are imported."""
    import huggingface_hub.constants

    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"
    huggingface_hub.constants.HF_HUB_OFFLINE = True
