"""One harness for what goes wrong while a release is published: whatever it is, readers see the old or the new."""

import copy
from contextlib import contextmanager

from server import HubServer
from small_release import change, publish

from anna_embed.parsing import RecipeError

PAIRS, TRIPLETS = ("datasets", "tester/anna-pairs"), ("datasets", "tester/anna-triplets")


class Trial:
    """A Hub with release v1 on it (or none), and the next release ready: for each case a Hub of its own."""

    def __init__(self, first, hub, artifacts, talk_to):
        self.artifacts, self.talk_to, self.tag = artifacts, talk_to, "v1" if first else "v2"
        if not first:
            publish(artifacts)
            change(artifacts)
        self.state = {key: copy.deepcopy(getattr(hub, key)) for key in ("repos", "objects", "collections", "xet")}
        self.xorbs = hub.xet.xorbs
        self.old = {name: repo.resolve("main")["files"] for name, repo in hub.repos.items()}
        before = len(hub.log)
        publish(artifacts, tag=self.tag)
        self.requests = len(hub.log) - before
        self.new = {name: hub.repos[name].resolve("main")["files"] for name in (PAIRS, TRIPLETS)}
        self.history = [f"Release {self.tag}", *(["Release v1"] if not first else []), "initial commit"]

    @contextmanager
    def case(self, **fault):
        """A fresh Hub on a fresh port, as Xet remembers what it has sent to one; should a port come again, its content
        is still there."""
        with HubServer() as self.hub:
            for key, value in self.state.items():
                setattr(self.hub, key, copy.deepcopy(value))
            self.hub.xet.xorbs = self.xorbs
            self.talk_to(self.hub)
            yield self.hub.faults.add(**fault)
            assert self.hub.leaks == []

    def publish(self):
        """Returns the sentence with which it fails, if it does."""
        try:
            publish(self.artifacts, tag=self.tag)
        except RecipeError as error:
            assert "run the same command again" in str(error)
            return str(error)

    def check_readers(self):
        """Nobody sees half of anything: main is old or new, a tag names the new, no child is before its parent."""
        with self.hub.lock:
            self._check_readers()

    def _check_readers(self):
        seen = {}
        for name in (PAIRS, TRIPLETS):
            repo = self.hub.repos.get(name)
            main = repo.resolve("main")["files"] if repo else {}
            seen[name] = bool(repo) and repo.history()[0] == f"Release {self.tag}"
            if seen[name]:
                assert self.contents(main) == self.contents(self.new[name])
            else:
                assert main == self.old[name] if name in self.old else set(main) <= {".gitattributes"}
            assert repo is None or repo.private
            if repo and self.tag in repo.tags:
                assert self.contents(repo.resolve(self.tag)["files"]) == self.contents(self.new[name])
            if name in self.old:
                assert repo.resolve("v1")["files"] == self.old[name]
        assert seen[PAIRS] or not seen[TRIPLETS]
        tagged = [name for name, repo in self.hub.repos.items() if self.tag in repo.tags]
        assert tagged in ([], [PAIRS], [PAIRS, TRIPLETS]) and (not tagged or all(seen.values()))

    def contents(self, files):
        """What is compared: the data by its hash, what names commits (which differ each time) by its size."""
        return {name: file["size"] if name in ("manifest.json", "README.md") else file["oid"]
                for name, file in files.items()}

    def left(self):
        """All of the Hub that a rerun depends on, without the ids of commits, which are new in every case."""
        hub = self.hub
        repos = [(name, repo.history(), sorted(repo.tags), self.contents(repo.resolve("main")["files"]))
                 for name, repo in sorted(hub.repos.items())]
        collections = [len(made["items"]) for made in hub.collections.values()]
        return str((repos, len(hub.objects), len(hub.xet.files), collections))

    def check_complete(self):
        self.check_readers()
        for name in (PAIRS, TRIPLETS):
            repo = self.hub.repos[name]
            assert repo.history() == self.history and repo.tags[self.tag] == repo.head
        assert [len(made["items"]) for made in self.hub.collections.values()] == [2] * (len(self.history) - 1)
        assert self.hub.leaks == []
