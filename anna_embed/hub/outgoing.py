"""What leaves this machine when an artifact is published: which files, as what, and that no token is in them."""

import hashlib
import io
import json
import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import RepoCard, RepoFile, get_token

from anna_embed.artifacts import CARD, MANIFEST, digest, read_manifest
from anna_embed.hub.cards import base_of, card, is_as_rendered, results_of
from anna_embed.hub.names import hub_id
from anna_embed.parsing import RecipeError

# The state of a training run, and what was being written when one was killed. Hidden files stay here, too.
STAYS = ("training_args.bin", "trainer_state.json", "optimizer.*", "scheduler.pt", "scaler.pt", "rng_state*",
         "checkpoint-*", "global_step*", "__pycache__", "*.partial", "*.tmp", "*.lock", "*.incomplete", ".*")
TOKEN = re.compile(rb"hf_[A-Za-z0-9]{20,}")
MACHINE_PATH = re.compile(r"(^|\s)/[^/\s]+/(?:.*/)?([^/]+)$")


@dataclass(frozen=True)
class Outgoing:
    """One file: a `source` (path or bytes) and what the Hub must hold when it has arrived."""

    source: Path | bytes
    size: int
    sha256: str
    blob: str

    def is_at(self, remote: RepoFile) -> bool:
        """Whether the Hub holds exactly this."""
        held = remote.lfs.sha256 == self.sha256 if remote.lfs else remote.blob_id == self.blob
        return held and remote.size == self.size


def collect(folder: Path, release: dict[str, str]) -> dict[str, Outgoing]:
    """The files of an artifact as they are published; the folder stays as it is.

    `manifest.json` and the card name the other artifacts of the release by their Hub ids, and an adapter its base
    model. A card that was edited by hand goes out as it is.

    Args:
        folder (`Path`): The artifact.
        release (`dict[str, str]`): Each artifact of the release to `org/name@tag`.

    Raises:
        [`RecipeError`]: not a whole artifact, made from an older state of another artifact, a base model that only
            this machine has, a card that the Hub would not understand, or a token in a file.
    """
    manifest, live = read_manifest(folder), (get_token() or "").encode()
    if not manifest:
        raise RecipeError(f"artifacts: '{folder}' has no {MANIFEST}; name a folder that a stage made.")
    if manifest["content"] != digest(folder):
        raise RecipeError(f"artifacts: the files in '{folder}' are not those that its {MANIFEST} describes; delete "
                          "the folder and run its stage again.")
    sources: dict[str, Path | bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(fnmatch(part, pattern) for part in name.split("/") for pattern in STAYS):
            sources[name] = _adapter_config(path, manifest) if path.name == "adapter_config.json" else path
    for name in sorted(sources.keys() & {MANIFEST, CARD}):
        _read(folder, name, sources[name], live)  # also what is about to be replaced must not hold a token
    final = _published(folder, manifest, release)
    sources[MANIFEST] = (json.dumps(final, indent=1, ensure_ascii=False) + "\n").encode()
    sources[CARD] = _final_card(folder, manifest, final, release).encode()
    files = {name: _read(folder, name, source, live) for name, source in sources.items()}
    _check_card(folder, sources[CARD].decode(), files)
    return files


def _final_card(folder, manifest, final, release) -> str:
    results, path = results_of(folder, manifest), folder / CARD
    if path.exists() and not is_as_rendered(path.read_text(encoding="utf-8")):
        print(f"{path}: was edited by hand and goes out as it is; delete it to have it rendered.", file=sys.stderr)
        return path.read_text(encoding="utf-8")
    own = {"published_as": release["results"]} if "results" in release else {}
    return card(final, results and {**results, **own})


def _published(folder, manifest, release) -> dict[str, Any]:
    """The manifest with Hub ids for the artifacts of this release, and without this machine's paths."""
    made = {read_manifest(folder.parent / name).get("content"): name for name in release}
    parents = {}
    for key, parent in manifest["parents"].items():
        name = made.get(parent["digest"])
        beside = Path(parent["reference"]).resolve()
        if name is None and beside.parent == folder.parent.resolve() and beside.name in release:
            raise RecipeError(f"artifacts: '{folder}' was made from another '{beside}' than the one that is there "
                              "now; run the recipe again, so that the release is of one piece.")
        parents[key] = parent | ({"published_as": release[name]} if name else {})
    own = {"published_as": release[folder.name]}
    return _without_machine_paths({**manifest, **own, "parents": parents})


def _without_machine_paths(value):
    """A path of the publisher's machine tells a reader nothing: only the file's name stays."""
    if isinstance(value, dict):
        return {MACHINE_PATH.sub(r"\1\2", key): _without_machine_paths(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_without_machine_paths(v) for v in value]
    is_path = isinstance(value, str) and value.startswith("/") and value.count("/") > 1 and "\n" not in value
    return Path(value).name if is_path else value


def _adapter_config(path, manifest) -> Path | bytes:
    """The adapter's configuration with the base model's Hub id and commit, whatever path it was trained from."""
    config, base = json.loads(path.read_text(encoding="utf-8")), base_of(manifest)
    name = hub_id(base.get("name")) or hub_id(config["base_model_name_or_path"])
    if name is None:
        raise RecipeError(f"artifacts: '{path}' names the base model '{config['base_model_name_or_path']}', which is "
                          "a path of this machine; train with the base model's Hub id (--mirror for a local copy).")
    said = {"base_model_name_or_path": name, "revision": base.get("commit") or config.get("revision")}
    return (json.dumps(config | said, indent=2, ensure_ascii=False) + "\n").encode()


def _read(folder, name, source, live) -> Outgoing:
    """Hashes a file and looks for tokens in it, in one pass."""
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    sha256, blob, tail = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size), b""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha256.update(block)
            blob.update(block)
            window = tail + block
            if TOKEN.search(window) or (live and live in window):
                raise RecipeError(f"artifacts: '{folder / name}' holds an access token of the Hub; revoke that token "
                                  "in your account's settings, take it out of the file, and publish again.")
            tail = window[-4096:]
    return Outgoing(source, size, sha256.hexdigest(), blob.hexdigest())


def _check_card(folder, text, files) -> None:
    try:
        data = RepoCard(text).data.to_dict()
    except (ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"artifacts: the front matter of '{folder / CARD}' is not valid YAML "
                          f"({' '.join(str(error).split())}); mend it, or delete the file to have it "
                          "rendered.") from None
    if not data.get("license"):
        raise RecipeError(f"artifacts: the front matter of '{folder / CARD}' names no license; add the key 'license', "
                          "or delete the file to have it rendered.")
    listed = [entry["path"] for config in data.get("configs", []) for entry in config["data_files"]]
    missing = [path for path in listed if not any(fnmatch(name, path) for name in files)]
    if missing:
        raise RecipeError(f"artifacts: '{folder / CARD}' lists '{missing[0]}' in 'configs', but no such file is "
                          "there; run the stage again.")
