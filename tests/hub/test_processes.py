"""Publishers in processes of their own: killed at ten moments, and two of them at once."""

import hashlib
import json
import random
import re
import shutil
import signal
import time

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars
from processes import Publisher, watch
from small_release import change
from trial import PAIRS, TRIPLETS, Trial

MOMENTS = 10


@pytest.fixture(params=["LFS", "Xet"])
def xet(request, monkeypatch):
    disable_progress_bars()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", request.param == "LFS")
    return request.param == "Xet"


@pytest.mark.slow
@pytest.mark.parametrize("xet, state", [("LFS", "update"), ("Xet", "first")], indirect=["xet"])
def test_killed_at_ten_moments(hub, client, artifacts, talk_to, tmp_path, xet, state):
    """If this fails, a publisher that is killed leaves half a release, one that no rerun completes, one release in two
    commits, or the copies that it had downloaded."""
    trial, draw, killed = Trial(state == "first", hub, artifacts, talk_to), random.Random(state), 0
    for moment in range(MOMENTS):
        with trial.case():
            wanted = (moment + draw.random()) / MOMENTS * trial.requests
            publisher = Publisher(trial.hub, artifacts, trial.tag, xet, tmp_path / "log")
            watch(trial.hub, [publisher], trial.check_readers, wanted)
            time.sleep(draw.random() / 50)  # somewhere between two requests, or in the midst of one
            publisher.kill()
            publisher.join()
            killed += publisher.exitcode == -signal.SIGKILL
            trial.check_readers()
            rerun = Publisher(trial.hub, artifacts, trial.tag, xet, tmp_path / "log")
            watch(trial.hub, [rerun], trial.check_readers)
            assert rerun.exitcode == 0, rerun.said()
            trial.check_complete()
            assert list(artifacts.glob(".*")) == []
    assert killed >= MOMENTS - 1  # the last moment may come too late


class Race:
    """Two publishers at once on a fresh Hub; readers watch all the time."""

    def __init__(self, hub, runs, tags, xet, folder):
        self.hub, self.runs, self.tags, self.xet, self.folder = hub, runs, tags, xet, folder
        self.hashes = {}  # of the files of both artifacts, by the content of the release's pairs
        for run in runs:
            content = json.loads((run / "pairs/manifest.json").read_text())["content"]
            self.hashes[content] = {name: {path.relative_to(run / folder).as_posix():
                                           hashlib.sha256(path.read_bytes()).hexdigest()
                                           for path in (run / folder).rglob("*.parquet")}
                                    for name, folder in ((PAIRS, "pairs"), (TRIPLETS, "triplets"))}

    def run(self, requests):
        """Starts the second after so many requests of the first; returns their exit codes and what they said last."""
        publishers = [self.publisher(0)]
        watch(self.hub, publishers, self.check_readers, requests)
        publishers.append(self.publisher(1))
        watch(self.hub, publishers, self.check_readers)
        return [(publisher.exitcode, publisher.said()) for publisher in publishers]

    def publisher(self, n, tag=None):
        return Publisher(self.hub, self.runs[n], tag or self.tags[n], self.xet, self.folder / f"log {n}")

    def check_readers(self):
        """Whatever a reader can name is one of the two releases, whole, with its parents where it says."""
        with self.hub.lock:
            for name in (PAIRS, TRIPLETS):
                repo = self.hub.repos.get(name)
                for revision in ("main", *repo.tags) if repo else ():
                    if repo.resolve(revision)["title"] != "initial commit":
                        self.check_one(name, revision)

    def check_one(self, name, revision):
        files = self.hub.repos[name].resolve(revision)["files"]
        manifest = json.loads(self.hub.read(name, revision, "manifest.json"))
        content = manifest["content"] if name == PAIRS else manifest["parents"]["pairs"]["digest"]
        sent = {path: file["lfs"] for path, file in files.items() if path.endswith(".parquet")}
        assert sent == self.hashes[content][name]
        if name == TRIPLETS:
            commit = manifest["parents"]["pairs"]["commit"]
            assert json.loads(self.hub.read(PAIRS, commit, "manifest.json"))["content"] == content
            assert revision == "main" or self.hub.repos[PAIRS].tags[revision] == commit


STARTS = (0, 0.3, 0.6)  # of the requests of a whole run: when the second publisher starts


@pytest.mark.slow
def test_two_processes_publish_the_same(hub, client, artifacts, talk_to, tmp_path, xet):
    """If this fails, a release that two jobs publish at once ends in an error, or in two commits."""
    trial = Trial(True, hub, artifacts, talk_to)
    for start in STARTS:
        with trial.case():
            race = Race(trial.hub, (artifacts, artifacts), ("v1", "v1"), xet, tmp_path)
            ended = race.run(start * trial.requests)
            assert [code for code, _ in ended] == [0, 0], ended
            trial.check_complete()


@pytest.mark.slow
def test_two_processes_publish_two_releases(hub, client, artifacts, talk_to, tmp_path, xet):
    """If this fails, of two releases that overlap one is lost, or a reader gets files of both."""
    trial, other = Trial(True, hub, artifacts, talk_to), shutil.copytree(artifacts, tmp_path / "other")
    change(other)
    for start in STARTS:
        with trial.case():
            race = Race(trial.hub, (artifacts, other), ("v1", "v2"), xet, tmp_path)
            ended = race.run(start * trial.requests)
            assert [code for code, _ in ended] == [0, 0], ended
            for name in (PAIRS, TRIPLETS):
                assert set(trial.hub.repos[name].tags) == {"v1", "v2"}
                assert sorted(trial.hub.repos[name].history()) == ["Release v1", "Release v2", "initial commit"]


@pytest.mark.slow
def test_two_processes_want_one_tag(hub, client, artifacts, talk_to, tmp_path, xet):
    """If this fails, a tag names the pairs of one release and the triplets of another, or both think it is theirs."""
    trial, other = Trial(True, hub, artifacts, talk_to), shutil.copytree(artifacts, tmp_path / "other")
    change(other)
    for start in STARTS:
        with trial.case():
            race = Race(trial.hub, (artifacts, other), ("v1", "v1"), xet, tmp_path)
            ended = race.run(start * trial.requests)
            assert sorted(code for code, _ in ended) == [0, 2], ended
            lost = [code for code, _ in ended].index(2)
            assert re.fullmatch("error: tag: 'v1' of tester/anna-(pairs|triplets) already names .*"
                                "(; choose another --tag for .*|: publish with another --tag.)", ended[lost][1]), ended
            again = race.publisher(lost, tag="v2")
            again.join()
            assert again.exitcode == 0, again.said()
            race.check_readers()
            assert all(set(trial.hub.repos[name].tags) == {"v1", "v2"} for name in (PAIRS, TRIPLETS))
