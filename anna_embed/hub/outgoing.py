"""What leaves this machine when an artifact is published: which files, as what, and that no token is in them."""

import hashlib
import io
import json
import re
import shlex
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import RepoCard, RepoFile, get_token

from anna_embed.artifacts import CARD, MANIFEST, read_manifest
from anna_embed.digests import DESCRIBING, digest
from anna_embed.hub.cards import card, is_as_rendered
from anna_embed.hub.family import base_of, results_of
from anna_embed.hub.front import added_by_others
from anna_embed.hub.leaks import holds_token, texts
from anna_embed.hub.names import Place, hub_id
from anna_embed.hub.scores import RESULTS, eval_results
from anna_embed.lineage import family_of, told_now
from anna_embed.parsing import RecipeError

# The state of a training run, and what was being written when one was killed. Hidden files stay here, too.
STAYS = ("training_args.bin", "trainer_state.json", "optimizer.*", "scheduler.pt", "scaler.pt", "rng_state*",
         "checkpoint-*", "global_step*", "__pycache__", "*.partial", "*.tmp", "*.lock", "*.incomplete", ".*")
ADAPTER = "adapter_config.json"
# Absolute paths, of which only the last name is published. A lone `/name` is none: it may be part of a sentence.
PATH_IN_TEXT = re.compile(r"(^|[\s=])/[^/\s]+/(?:\S*/)?([^/\s]+)")  # anywhere in a text, without white space
PATH_IN_WORD = re.compile(r"^(--\w+=)?[/~].*/(?=[^/])")  # a word of a command, also `--key=path`; all but its name
PATH_AT_END = re.compile(r"(^|\s)/[^/\s]+/(?:.*/)?([^/]+)$")  # the end of a manifest's key (`test set 0: /path/file`)


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


def collect(folder: Path, release: dict[str, Place]) -> dict[str, Outgoing]:
    """The files of an artifact as they are published; the folder stays as it is.

    Args:
        folder (`Path`): The artifact.
        release (`dict[str, Place]`): Where each artifact of the release is.

    Raises:
        [`RecipeError`]: not a whole artifact, made from an older state of another artifact, a base model that only
            this machine has, a card that the Hub would not understand, or a token in a file.
    """
    manifest = read_manifest(folder)
    if not manifest:
        raise RecipeError(f"artifacts: '{folder}' has no {MANIFEST}; name a folder that a stage made.")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _stays(path.relative_to(folder))]
    files = {name: _read(folder, name, path) for path in paths if (name := path.relative_to(folder).as_posix())}
    if manifest.get("content") != digest(folder):  # after the search for tokens: to have leaked one is worse
        raise RecipeError(f"artifacts: the files in '{folder}' are not those that its {MANIFEST} describes; delete "
                          "the folder and run its stage again.")
    if ADAPTER in files:
        files[ADAPTER] = _read(folder, ADAPTER, _adapter_config(folder / ADAPTER, manifest))
    files |= described(folder, manifest, release)
    _check_card(folder, files)
    if not is_as_rendered(folder):
        print(f"{folder / CARD}: was edited by hand and goes out as it is; delete it to have it rendered.",
              file=sys.stderr)
    return files


def _stays(path) -> bool:
    return any(fnmatch(part, pattern) for part in path.parts for pattern in STAYS)


def described(folder: Path, manifest: dict[str, Any], release: dict[str, Place],
              others: str = "") -> dict[str, Outgoing]:
    """What is written anew for each release: the manifest and the card, which name the other artifacts of the release
    by their Hub ids and commits, and a model's `.eval_results`. A card that was edited by hand goes out as it is.

    Args:
        others (`str`): The card that the repository has; what others added to its front matter stays.
    """
    final, results = _published(folder, told_now(folder, manifest), release), results_of(folder, manifest)
    if results:
        results = _published(folder.parent / "results", results, release)
    sources = {MANIFEST: (json.dumps(final, indent=1, ensure_ascii=False) + "\n").encode(),
               CARD: _final_card(folder, final, results, release, others).encode()}
    if entries := eval_results(results):
        sources[RESULTS] = yaml.safe_dump(entries, sort_keys=False).encode()
    return {name: _read(folder, name, source) for name, source in sources.items()}


def _final_card(folder, final, results, release, others) -> str:
    if not is_as_rendered(folder):
        try:
            return (folder / CARD).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise RecipeError(f"artifacts: '{folder / CARD}' is not UTF-8; save it as UTF-8, or delete it to have it "
                              "rendered.") from None
    family = {name: _published(folder.parent / name, ancestor, release)
              for name, ancestor in family_of(folder.parent, read_manifest(folder)).items()}
    return card(final, results, family, added_by_others(others))


def _published(folder, manifest, release) -> dict[str, Any]:
    """The manifest with Hub ids and commits for the artifacts of this release, without this machine's paths."""
    made = {read_manifest(folder.parent / name).get("content"): name for name in release}
    parents = {}
    for key, parent in manifest["parents"].items():
        name = made.get(parent["digest"])
        beside = Path(parent["reference"]).resolve()
        if name is None and beside.parent == folder.parent.resolve() and beside.name in release:
            raise RecipeError(f"artifacts: '{folder}' was made from another '{beside}' than the one that is there "
                              "now; run the recipe again, so that the release is of one piece.")
        there = {"published_as": str(release[name]), "commit": release[name].commit} if name else {}
        parents[key] = parent | there
    own = {"published_as": str(release[folder.name])} if folder.name in release else {}
    if "command" in manifest:  # as words: what the shell quotes may hold spaces
        own["command"] = shlex.join(PATH_IN_WORD.sub(r"\1", word) for word in shlex.split(manifest["command"]))
    return _without_machine_paths({**manifest, **own, "parents": parents})


def _without_machine_paths(value):
    """A path of the publisher's machine tells a reader nothing: only the file's name stays."""
    if isinstance(value, dict):
        return {PATH_AT_END.sub(r"\1\2", key): v if _is_prompt(key, v) else _without_machine_paths(v)
                for key, v in value.items()}
    if isinstance(value, list):
        return [_without_machine_paths(v) for v in value]
    if not isinstance(value, str) or "\n" in value:
        return value
    is_path = value.startswith("/") and value.count("/") > 1
    return Path(value).name if is_path else PATH_IN_TEXT.sub(r"\1\2", value)


def _is_prompt(key, value) -> bool:
    """What models are told, be it of paths, stays as it is."""
    return key == "prompts" or (isinstance(value, str) and (key == "instruction" or key.endswith("_prompt")))


def _adapter_config(path, manifest) -> bytes:
    """The adapter's configuration with the base model's Hub id and commit, whatever path it was trained from."""
    config, base = json.loads(path.read_text(encoding="utf-8")), base_of(manifest)
    name = hub_id(base.get("name")) or hub_id(config["base_model_name_or_path"])
    if name is None:
        raise RecipeError(f"artifacts: '{path}' names the base model '{config['base_model_name_or_path']}', which is "
                          "a path of this machine; train with the base model's Hub id (--mirror for a local copy).")
    said = {"base_model_name_or_path": name, "revision": base.get("commit") or config.get("revision")}
    return (json.dumps(config | said, indent=2, ensure_ascii=False) + "\n").encode()


def _read(folder, name, source) -> Outgoing:
    """Hashes a file and looks for tokens in it, in one pass; in a parquet file also behind the compression."""
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    sha256, blob, live = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size), (get_token() or "").encode()

    def blocks(stream):
        while block := stream.read(1 << 20):
            sha256.update(block)
            blob.update(block)
            yield block

    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        leaks = holds_token(blocks(stream), live)
    if leaks or (name.endswith(".parquet") and holds_token(texts(source), live)):
        mend = ("take it out of the file" if name in DESCRIBING else
                "take it out of what the stage reads, delete the folder, run the stage again")
        raise RecipeError(f"artifacts: '{folder / name}' holds an access token of the Hub; revoke that token in your "
                          f"account's settings, {mend}, and publish again.")
    return Outgoing(source, size, sha256.hexdigest(), blob.hexdigest())


def _check_card(folder, files) -> None:
    try:
        data = RepoCard(files[CARD].source.decode()).data.to_dict()
    except (ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"artifacts: the front matter of '{folder / CARD}' is not valid YAML "
                          f"({' '.join(str(error).split())}); mend it, or delete the file to have it "
                          "rendered.") from None
    if not data.get("license"):
        raise RecipeError(f"artifacts: the front matter of '{folder / CARD}' names no license; add the key 'license', "
                          "or delete the file to have it rendered.")
    listed = [path for config in data.get("configs", []) for path in _paths(config.get("data_files", []))]
    missing = [path for path in listed if not any(fnmatch(name, path) for name in files)]
    if missing:
        raise RecipeError(f"artifacts: '{folder / CARD}' lists '{missing[0]}' in 'configs', but no such file is "
                          "there; run the stage again.")


def _paths(data_files):
    """The patterns in a card's `data_files`, in any of the forms that the Hub knows."""
    if isinstance(data_files, str):
        return [data_files]
    if isinstance(data_files, dict):
        data_files = [data_files] if "path" in data_files else list(data_files.values())
    return [path for entry in data_files
            for path in (_paths(entry["path"]) if isinstance(entry, dict) else _paths(entry))]
