"""Artifacts: folders in Hub layout that a stage writes whole or not at all, keyed by what they were made from.

A stage writes into `<output>.partial`; a kill leaves that folder, and the same command goes on in it. When all is
written the manifest and the card are added and the folder takes its name by a rename; the artifact that was there
before is a hidden folder beside it until then, and takes its place again if a kill came between.
"""

import atexit
import errno
import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from anna_embed import writer
from anna_embed.config.base import UNKEYED
from anna_embed.digests import DESCRIBING, code_digest, digest, digest_of
from anna_embed.located import Located
from anna_embed.origin import code_commit, hardware
from anna_embed.parsing import RecipeError

MANIFEST, CARD, LOG = DESCRIBING
KEY = ".key"  # in a folder that is not finished: what it is made from
NO_WORK = (KEY, writer.LOCK, ".failed")  # files of it that say nothing of how far a run got
BARE = ("train_reranker", "score")  # stages that see bare texts: another instruction changes nothing in them
ARTIFACTS = ("pairs", "reranker", "scores", "triplets", "adapter", "model", "results")  # in order of descent
OWN = "trained model"  # what result tables call a model that the export stage made
PACKAGES = ("accelerate", "bm25s", "datasets", "huggingface-hub", "mteb", "numpy", "peft", "sentence-transformers",
            "tokenizers", "torch", "transformers", "trl")


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of an artifact, or an empty dictionary for a folder that no stage of ours made.

    Raises:
        [`RecipeError`]: the file is no manifest.
    """
    file = Path(folder) / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise RecipeError(f"'{file}' is no manifest; delete the folder '{folder}' and run its stage again.")
    return manifest if "stage" in manifest else {}  # others write files of this name too


@dataclass
class Stage:
    """One run of one stage.

    Args:
        name (`str`): The stage.
        output (`str`): The artifact's folder.
        given (`dict`): The keys that the recipe states; those in `config.UNKEYED` do not make another artifact.
        parents (`dict[str, Located]`): What it is made from.
    """

    name: str
    output: str
    given: dict[str, Any]
    parents: dict[str, Located]
    started: float = field(default_factory=time.time)
    _writing: TextIO | None = field(default=None, init=False, repr=False)
    _new_folders: list[Path] = field(default_factory=list, init=False, repr=False)
    _code: dict[str, str | None] = field(default_factory=dict, init=False, repr=False)

    @property
    def config(self) -> dict[str, Any]:
        return {k: v for k, v in sorted(self.given.items()) if k not in UNKEYED and k not in self.parents}

    @cached_property  # of the state at the start: while the stage runs, the parents' manifests may change
    def key(self) -> str:
        parents = {key: parent.digest for key, parent in self.parents.items()}
        made_from = {"stage": self.name, "config": self.config, "parents": parents}
        if self.name not in BARE:  # instructions stand in manifests, which are no part of the digest
            told = {key: read_manifest(parent.path) for key, parent in self.parents.items()}
            made_from["tasks"] = {key: {name: [task["kind"], task["instruction"]]
                                        for name, task in manifest.get("tasks", {}).items()}
                                  for key, manifest in told.items() if manifest}
        return digest_of(made_from)

    @property
    def is_current(self) -> bool:
        """Whether the artifact is there, whole, and made from exactly this; waits for a process that makes it."""
        if _is_main_process():
            writer.wait_for(self.name, self.work)
        self._recover()
        manifest = read_manifest(self.output)
        return manifest.get("key") == self.key and manifest.get("content") == digest(Path(self.output))

    @property
    def work(self) -> Path:
        return Path(f"{self.output}.partial")

    @property
    def old(self) -> Path:
        return Path(self.output).with_name(f".{Path(self.output).name}.replaced")  # nobody calls a copy of theirs so

    @property
    def is_of_others(self) -> bool:
        """Whether an interrupted run with other settings or inputs left what is in `work`."""
        note = self.work / KEY
        return note.is_file() and note.read_text() != self.key

    def begin(self) -> Path:
        """The folder to write into: what an interrupted run of exactly this left there, or an empty one, which goes
        away again if the process ends before there is anything in it that a later run could use. In a training run of
        several processes the main one prepares it, before the others get here.

        Raises:
            [`RecipeError`]: another process writes it, or something that is no artifact stands in its place.
        """
        if not _is_main_process():
            return self.work
        self._code = {"code": code_digest(), "commit": code_commit()}  # while it runs the files may change
        self._recover()
        self._check_place()
        self._new_folders += [folder for folder in self.work.parents if not folder.exists()]
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            self._writing = self._writing or writer.claim(self.name, self.work)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise RecipeError(f"artifacts: cannot write '{self.work}' ({error.strerror}); name a folder that you may "
                              "write into.") from None
        atexit.register(self._discard_if_empty)
        if self.is_of_others or not (self.work / KEY).is_file():
            if self.is_of_others:
                print(f"{self.name}: {self.work} was begun with other settings or inputs; begun anew", flush=True)
            _remove(entry for entry in self.work.iterdir() if entry.name != writer.LOCK)
            (self.work / KEY).write_text(self.key)
        return self.work

    def discard(self) -> None:
        """Removes what was written: after a check that says it must not be used."""
        shutil.rmtree(self.work, ignore_errors=True)
        with suppress(OSError):  # others have written there
            for folder in self._new_folders:
                folder.rmdir()
        self._release()

    def _discard_if_empty(self):
        rest = (file for file in self.work.rglob("*") if file.is_file() and file.name not in NO_WORK)
        if self._writing and writer.is_at(self._writing, self.work) and not any(rest):
            self.discard()

    def manifest(self, rows: dict[str, Any], dropped: list[dict] = (), **more: Any) -> dict[str, Any]:
        """What the card is rendered from. `rows`: counts by config and split; `dropped`: `task`, `reason`, `rows`."""
        return {
            "stage": self.name, "artifact": Path(self.output).name, "key": self.key, "content": digest(self.work),
            "config": json.loads(json.dumps(self.config, default=str)),
            "parents": {k: {"reference": p.reference, "digest": p.digest, "commit": p.commit}
                        for k, p in self.parents.items()},
            "packages": {name: version(name) for name in PACKAGES}, **self._code, "hardware": hardware(),
            "seconds": round(time.time() - self.started, 1), "rows": rows, "dropped": list(dropped), **more,
        }

    def finish(self, manifest: dict[str, Any]) -> None:
        """Writes the manifest and puts the whole folder in its place: a reader sees the old artifact or the new.

        Until the folder has its name it keeps what a resumed run needs, so a kill at any moment costs no work.
        """
        (self.work / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for file in self.work.rglob("*"):  # safetensors writes files that nobody else may read
            if file.is_file():
                file.chmod((self.work / MANIFEST).stat().st_mode)
        if Path(self.output).exists():
            _remove([self.old], strict=False)
            os.rename(self.output, self.old)
        os.rename(self.work, self.output)
        self._tidy()
        self._release()
        print(f"{self.name}: made {self.output} in {manifest['seconds']:.0f} s", flush=True)

    def _check_place(self):
        """What stands where the artifact goes is an artifact, or nothing: `finish` replaces it."""
        there = Path(self.output)
        if there.is_file() or (there.is_dir() and not read_manifest(there) and any(there.iterdir())):
            raise RecipeError(f"artifacts: '{there}' is there and no stage made it; move it, or name another folder.")

    def _recover(self):
        """Takes up what a kill in the middle of `finish` left."""
        if self.old.exists() and not Path(self.output).exists():
            with suppress(OSError):  # another process of this training run was faster
                os.rename(self.old, self.output)
        if _is_main_process() and Path(self.output, KEY).exists():
            self._tidy()

    def _tidy(self):
        """Removes what is left over from making the artifact, last of all the sign that there is such."""
        _remove([self.old], strict=False)
        # Not strict: another process that finds the artifact made may tidy up, too.
        _remove((entry for entry in Path(self.output).glob(".*") if entry.name != KEY), strict=False)
        Path(self.output, KEY).unlink(missing_ok=True)

    def _release(self):
        atexit.unregister(self._discard_if_empty)
        if self._writing:
            self._writing.close()
            self._writing = None


def _remove(entries, strict=True):
    for entry in list(entries):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=not strict)
        else:
            entry.unlink(missing_ok=not strict)


def _is_main_process():
    return os.environ.get("RANK", "0") == "0"  # torchrun's and accelerate's; unset in a run of one process
