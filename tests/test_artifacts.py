"""An artifact appears whole or not at all, is made once, and is found wherever it lies."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anna_embed import writer
from anna_embed.artifacts import Stage, read_manifest
from anna_embed.config import UNKEYED
from anna_embed.digests import digest
from anna_embed.located import Located, locate
from anna_embed.parsing import RecipeError

ROOT = Path(__file__).parents[1]


def stage_of(folder, **keys) -> Stage:
    return Stage("mine", str(folder / "triplets"), keys, {"pairs": Located("pairs", "pairs", "content of the pairs")})


def make(stage: Stage, text: str) -> None:
    """What a stage does: files that stay, a checkpoint that does not."""
    work = stage.begin()
    (work / "rows.txt").write_text(text)
    (work / ".checkpoints").mkdir(exist_ok=True)
    (work / ".checkpoints" / "step-5").write_text("half-way")
    stage.finish(stage.manifest({"task": {"train": 1}}))


def state(folder: Path) -> dict[str, str]:
    """All files below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_finished_artifact(tmp_path):
    """If this fails, a stage publishes its checkpoints, or a finished one runs again (or is said to be up to date)."""
    stage = stage_of(tmp_path, seed=1)
    assert not stage.is_current
    make(stage, "first")
    assert sorted(state(tmp_path)) == ["triplets/manifest.json", "triplets/rows.txt"]
    assert stage_of(tmp_path, seed=1).is_current and not stage_of(tmp_path, seed=2).is_current
    (tmp_path / "triplets" / "rows.txt").write_text("edited by hand")
    assert not stage_of(tmp_path, seed=1).is_current


def test_all_files_of_an_artifact_are_for_the_same_readers(tmp_path):
    """If this fails, colleagues read the card of a model in a shared folder, and are refused its weights."""
    stage = stage_of(tmp_path)
    (stage.begin() / "model.safetensors").touch(mode=0o600)
    stage.finish(stage.manifest({}))
    made = tmp_path / "triplets"
    assert (made / "model.safetensors").stat().st_mode == (made / "manifest.json").stat().st_mode


class Killed(BaseException):
    pass


@pytest.mark.parametrize("before", [False, True], ids=["first", "replacing"])
def test_kill_between_any_two_steps(tmp_path, monkeypatch, before):
    """If this fails, there is a moment in which a kill loses the old artifact, or the work of the run that was killed.

    Every call that changes a name or removes something may be the last one.
    """
    counted = 0

    def dying(call, at):
        def instead(*args, **kwargs):
            nonlocal counted
            counted += 1
            if counted == at:
                raise Killed
            return call(*args, **kwargs)
        return instead

    for at in range(1, 20):
        counted, folder = 0, tmp_path / str(at)
        if before:
            make(stage_of(folder, seed=1), "old")
        with monkeypatch.context() as patched, pytest.raises(Killed):
            for module, name in ((os, "rename"), (os, "unlink"), (os, "rmdir"), (shutil, "rmtree")):
                patched.setattr(module, name, dying(getattr(module, name), at))
            make(stage_of(folder, seed=2), "new")
            raise Killed  # nothing left to die in
        finished = counted < at
        new_is_there = stage_of(folder, seed=2).is_current
        if not new_is_there:
            if before:
                assert stage_of(folder, seed=1).is_current, f"the old artifact was lost at step {at}"
            work = stage_of(folder, seed=2).begin()
            assert state(work)[".checkpoints/step-5"] == "half-way", f"the work was lost at step {at}"
            make(stage_of(folder, seed=2), "new")
        assert stage_of(folder, seed=2).is_current
        assert sorted(state(folder)) == ["triplets/manifest.json", "triplets/rows.txt"]
        if finished:
            break
    assert finished and at > (3 if before else 2)


def test_interrupted_work_is_taken_up_or_thrown_away(tmp_path):
    """If this fails, a killed run starts anew, or rows made with other keys end up in the artifact."""
    (stage_of(tmp_path, seed=1).begin() / "shard").write_text("of seed 1")
    assert state(stage_of(tmp_path, seed=1).begin())["shard"] == "of seed 1"
    assert "shard" not in state(stage_of(tmp_path, seed=2).begin())
    (tmp_path / "triplets.partial" / ".key").write_text("")  # killed while it was written
    (tmp_path / "triplets.partial" / "shard").write_text("of whom?")
    assert "shard" not in state(stage_of(tmp_path, seed=2).begin())


def test_discarded_work(tmp_path):
    """If this fails, an export that did not pass its own checks lies about, or spoils the next one."""
    make(stage_of(tmp_path, seed=1), "good")
    stage = stage_of(tmp_path, seed=2)
    (stage.begin() / "rows.txt").write_text("bad")
    stage.discard()
    assert [p.name for p in tmp_path.iterdir()] == ["triplets"] and stage_of(tmp_path, seed=1).is_current


@pytest.mark.parametrize("file, is_kept", [(".failed", False), (".shards/task/00000.arrow", True)])
def test_a_refused_run(tmp_path, file, is_kept):
    """If this fails, a run that was refused leaves folders without work in them, or loses the shards it had made."""
    code = ("import sys; from anna_embed.artifacts import Stage; from anna_embed.parsing import *\n"
            "with one_sentence():\n"
            "    work = Stage('mine', sys.argv[1], {}, {}).begin()\n"
            "    (work / '.shards' / 'task').mkdir(parents=True)\n"
            "    (work / sys.argv[2]).touch()\n"
            "    raise RecipeError('refused.')")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "new" / "triplets"), file], cwd=ROOT)
    assert done.returncode == 2 and (tmp_path / "new" / "triplets.partial" / file).exists() == is_kept
    assert (tmp_path / "new").exists() == is_kept


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(["seed", "margin", "dtype", "top_k"]), st.one_of(st.integers(), st.text())),
       st.dictionaries(st.sampled_from(sorted(UNKEYED)), st.one_of(st.integers(), st.text())))
def test_key_is_what_not_how(keys, how):
    """If this fails, another folder or thread count makes hours of work run again, or another seed does not."""
    def key(**given):
        return Stage("mine", "out", given, {"pairs": Located("a", "a", "content")}).key
    assert key(**keys, **how) == key(**dict(reversed(keys.items())))
    assert key(**keys, new=1) != key(**keys) != key(**{**keys, "seed": "another"})


def test_key_follows_the_parents_content(tmp_path):
    """If this fails, moving a folder re-runs a recipe, or other rows under an old name do not."""
    def key(name, text):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "rows.txt").write_text(text)
        return Stage("mine", "out", {"base": name}, {"base": locate("base", str(tmp_path / name), "dataset", [])}).key
    assert key("here", "rows") == key("there", "rows") != key("here", "other rows")


def test_key_follows_the_parents_instructions(tmp_path):
    """If this fails, an instruction that is mended in convert.yaml is never trained on: rows do not hold it."""
    def key(stage, instruction):
        (tmp_path / "manifest.json").write_text(json.dumps({"stage": "convert", "tasks": {"t": {
            "kind": "retrieval", "instruction": instruction, "licence": instruction}}}))
        return Stage(stage, "out", {}, {"pairs": locate("pairs", str(tmp_path), "dataset", [])}).key

    for stage in ("mine", "train", "export", "benchmark"):
        assert key(stage, "Find it") == key(stage, "Find it") != key(stage, "Find them")
    assert key("score", "Find it") == key("score", "Find them")  # hours, in which no instruction is read


def test_a_key_is_that_of_the_start(tmp_path):
    """If this fails, an instruction that is edited while a model trains makes the old adapter pass for a new one."""
    def told(instruction):
        tasks = {"t": {"kind": "retrieval", "instruction": instruction}}
        (tmp_path / "manifest.json").write_text(json.dumps({"stage": "convert", "tasks": tasks}))

    def stage():
        return Stage("train", str(tmp_path / "adapter"), {}, {"pairs": Located("pairs", str(tmp_path), "same rows")})

    told("Find it")
    training = stage()
    training.begin()
    told("Find them")
    training.finish(training.manifest({}))
    assert not stage().is_current


def test_labels_of_several_types():
    """If this fails, `labels: {0: bad, '-': none}` ends in a traceback."""
    assert Stage("convert", "out", {"tasks": [{"labels": {0: "bad", "-": "none", None: "x"}}]}, {}).key


def test_work_of_other_settings_is_not_lost_in_silence(tmp_path, capsys):
    """If this fails, a slip in a key on the command line throws hours of training away without a word."""
    stage_of(tmp_path, seed=1).begin()
    assert not capsys.readouterr().out
    stage_of(tmp_path, seed=2).begin()
    assert "triplets.partial was begun with other settings or inputs" in capsys.readouterr().out


def test_an_artifact_that_was_moved_to_another_disk(tmp_path):
    """If this fails, a folder that is a link is replaced once, and the second run ends in a traceback."""
    (tmp_path / "disk").mkdir()
    for seed in range(3):
        make(stage_of(tmp_path, seed=seed), f"rows {seed}")
        if seed == 0:
            (tmp_path / "triplets").rename(tmp_path / "disk" / "triplets")
            (tmp_path / "triplets").symlink_to(tmp_path / "disk" / "triplets")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "triplets"]
    assert (tmp_path / "triplets" / "rows.txt").read_text() == "rows 2"


def test_a_manifest_of_somebody_else(tmp_path):
    """If this fails, a folder of the user's own is taken for an artifact and deleted."""
    (tmp_path / "triplets").mkdir()
    (tmp_path / "triplets" / "manifest.json").write_text('{"name": "my model"}')
    with pytest.raises(RecipeError, match="is there and no stage made it"):
        stage_of(tmp_path).begin()


def test_digest_leaves_out_what_describes_and_what_is_hidden(tmp_path):
    """If this fails, a new card or a slower run re-runs what was made from it, or a stray checkpoint does."""
    (tmp_path / "rows.txt").write_text("rows")
    before = digest(tmp_path)
    for name in ("README.md", "manifest.json", "training_log.json", ".steps/step-5", ".gitattributes", "sub/.lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert digest(tmp_path) == before
    (tmp_path / "sub" / "README.md").write_text("x")
    assert digest(tmp_path) != before


def test_digest_sees_what_lies_behind_a_link(tmp_path):
    """If this fails, data on another disk, linked into the folder, changes and every stage is up to date."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "rows.txt").write_text("rows")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(tmp_path / "disk", target_is_directory=True)
    (tmp_path / "data" / "latest").symlink_to(tmp_path / "data", target_is_directory=True)  # would never end
    before = digest(tmp_path / "data")
    (tmp_path / "disk" / "rows.txt").write_text("other rows")
    assert digest(tmp_path / "data") != before


def test_a_second_writer_is_refused_or_waits(tmp_path):
    """If this fails, a child that outlived `kill -9` and a new run write into the same files at once."""
    code = ("import sys, time; from anna_embed.artifacts import Stage; stage = Stage('mine', sys.argv[1], {}, {});"
            "work = stage.begin(); print('begun', flush=True); sys.stdin.readline();"
            "(work / 'rows.txt').write_text('rows'); stage.finish(stage.manifest({}))")
    output = str(tmp_path / "triplets")
    with subprocess.Popen([sys.executable, "-c", code, output], cwd=ROOT, text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == "begun\n"
        with pytest.raises(RecipeError, match=f"mine: process {other.pid} is writing '{output}.partial'; wait"):
            Stage("mine", output, {}, {}).begin()
        ask = ("import sys; from anna_embed.artifacts import Stage;"
               "print(Stage('mine', sys.argv[1], {}, {}).is_current, flush=True)")
        waiting = subprocess.Popen([sys.executable, "-c", ask, output], cwd=ROOT, text=True, stdout=subprocess.PIPE)
        assert f"process {other.pid} is writing" in waiting.stdout.readline()
        time.sleep(0.2)
        assert waiting.poll() is None
        other.stdin.write("go on\n")
        other.stdin.close()
        assert waiting.stdout.read() == "True\n"
        waiting.wait()


def test_the_lock_ends_with_its_holder(tmp_path):
    """If this fails, a killed run blocks the next one for ever."""
    code = ("import os, sys; from anna_embed.artifacts import Stage;"
            "Stage('mine', sys.argv[1], {}, {}).begin(); os.kill(os.getpid(), 9)")
    output = str(tmp_path / "triplets")
    assert subprocess.run([sys.executable, "-c", code, output], cwd=ROOT).returncode == -9
    stage = Stage("mine", output, {}, {})
    assert not stage.is_current and stage.begin().is_dir()


def test_other_processes_of_a_training_run_touch_nothing(tmp_path, monkeypatch):
    """If this fails, two processes of one training run wait for each other, or one wipes what the other writes."""
    work = stage_of(tmp_path, seed=1).begin()
    monkeypatch.setenv("RANK", "1")
    second = stage_of(tmp_path, seed=1)
    assert not second.is_current and second.begin() == work and sorted(state(work)) == [".key", ".lock"]


@pytest.mark.parametrize("moved", [True, False], ids=["moved", "copied"])
def test_what_a_user_keeps_beside_an_artifact_stays(tmp_path, moved):
    """If this fails, the adapter that somebody put aside as adapter.old is deleted by the next run."""
    make(stage_of(tmp_path, seed=1), "dear")
    (shutil.move if moved else shutil.copytree)(tmp_path / "triplets", tmp_path / "triplets.old")
    for seed in (2, 3):
        assert not stage_of(tmp_path, seed=seed).is_current
        make(stage_of(tmp_path, seed=seed), f"of seed {seed}")
    assert (tmp_path / "triplets.old" / "rows.txt").read_text() == "dear"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["triplets", "triplets.old"]


def test_a_place_that_cannot_be_written(tmp_path):
    """If this fails, a folder that is a file ends in a traceback."""
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RecipeError, match="artifacts: cannot write '.*notes.txt/triplets.partial' .Not a directory."):
        stage_of(tmp_path / "notes.txt").begin()


def test_a_writer_of_the_same_process_id(tmp_path):
    """If this fails, two containers whose process is number 1 write into one folder of a shared volume."""
    folder = tmp_path / "work"
    folder.mkdir()
    with (folder / writer.LOCK).open("w") as other:
        print(f"{os.getpid()} of another container", file=other, flush=True)
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RecipeError, match=f"mine: process {os.getpid()} is writing"):
            writer.claim("mine", folder)
    with writer.claim("mine", folder):
        assert writer.claim("mine", folder) is None  # this very process is the writer


# ---- where things are ----------------------------------------------------------------------------------------------

@pytest.fixture
def no_network(monkeypatch):
    """Any way to the Hub is an error that no sentence hides."""
    def asked(*args, **kwargs):
        raise AssertionError("the network was asked")
    monkeypatch.setattr("anna_embed.located.fetch", asked)


def folder_with(path: Path, text: str) -> str:
    path.mkdir(parents=True)
    (path / "rows.txt").write_text(text)
    return str(path)


def test_the_first_mirror_wins_and_a_local_folder_before_all(tmp_path, monkeypatch, no_network):
    """If this fails, `--mirror` reads another copy than the one named first, or asks the network for what is here."""
    first = folder_with(tmp_path / "one/models/org/name", "first")
    second = folder_with(tmp_path / "two/models/org/name", "second")
    only = folder_with(tmp_path / "two/datasets/org/rows", "rows")
    mirrors = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert locate("base", "org/name", "model", mirrors).path == first
    assert locate("base", "org/name@v1", "model", mirrors[::-1]).path == second
    assert locate("base", "org/rows", "dataset", mirrors).path == only
    with pytest.raises(RecipeError, match=r"base: no mirror holds the model 'org/rows' \(looked for models/org/rows"):
        locate("base", "org/rows", "model", mirrors)
    monkeypatch.chdir(tmp_path)
    here = folder_with(tmp_path / "org/name", "here")
    assert locate("base", "org/name", "model", mirrors).digest == digest(Path(here))
    assert locate("file", "org/name/rows.txt", "dataset", []).path == "org/name/rows.txt"


@pytest.mark.parametrize("reference", ["artifacts/pairs", "artifacts/quickstat/pairs", "./pairs", "../pairs", "/no/x",
                                       "data/trian", "pairs", "data/train/", "a b/c", "data\\train"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_mistyped_path_is_no_hub_id(tmp_path, monkeypatch, no_network, reference, mirrored):
    """If this fails, a typo sends a folder's name to the Hub, or reads what somebody else has published under it."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="pairs: there is nothing at .*; run the stage that makes it, or give a fol"):
        locate("pairs", reference, "dataset", [str(tmp_path)] if mirrored else [])


def test_what_else_cannot_be_found(tmp_path, no_network):
    """If this fails, an empty value means the working directory, or a missing mirror is not noticed."""
    with pytest.raises(RecipeError, match="base: names nothing"):
        locate("base", " ", "model", [])
    with pytest.raises(RecipeError, match=f"mirror: there is no folder '{tmp_path}/mirrow'"):
        locate("base", "org/name", "model", [f"{tmp_path}/mirrow"])
    with pytest.raises(RecipeError, match="mirror: there is no folder 'mirrow'"):
        locate("rows", "data", "dataset", ["mirrow"])  # is here, but a slip in what is given helps nobody


@pytest.mark.parametrize("name, reason", [("org/name", "refused"), ("org/na--me", "Cannot have -- or ..")])
def test_an_unreachable_hub_is_one_sentence(monkeypatch, name, reason):
    """If this fails, no network or a name that the Hub does not allow ends in a traceback."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(RecipeError, match=f"base: the model '{name}' is neither .* nor .*{reason}.*; check"):
        locate("base", name, "model", [])


def test_a_broken_manifest_is_one_sentence(tmp_path):
    """If this fails, a file that was cut short by a full disk ends in a traceback that does not name it."""
    (tmp_path / "manifest.json").write_text(json.dumps({"key": 1})[:-1])
    with pytest.raises(RecipeError, match=f"'{tmp_path}/manifest.json' is no manifest; delete the folder"):
        read_manifest(tmp_path)
