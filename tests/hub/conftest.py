"""A loopback Hub, a client in this process that talks to it, and a small real release to publish."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from server import HubServer
from small_release import make, publish

from anna_embed.parsing import RecipeError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="session")
def xet_of_its_own(tmp_path_factory):
    """Xet reads these when it is first used: what it remembers of other uploads, and how long its retries wait."""
    os.environ |= {"HF_XET_CACHE": str(tmp_path_factory.mktemp("xet")), "HF_XET_CLIENT_RETRY_BASE_DELAY": "1ms"}


@pytest.fixture
def hub():
    with HubServer() as server:
        yield server
    assert server.leaks == []


@pytest.fixture
def talk_to(monkeypatch):
    """Lets the clients of this process talk to one loopback Hub."""
    def talk_to(hub):
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE",
                            hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    return talk_to


@pytest.fixture
def client(hub, talk_to, monkeypatch, tmp_path):
    """The clients of this process talk to the loopback Hub, and retries hardly wait; the pauses asked for are
    recorded."""
    pauses, sleep = [], time.sleep
    talk_to(hub)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-login"))
    monkeypatch.setenv("HF_TOKEN", "hf_test_write")
    monkeypatch.setattr("time.sleep", lambda seconds: (pauses.append(seconds), sleep(min(seconds, 0.001)))[0])
    return pauses


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run's folder with pairs (two configs, one of them with a test split) and triplets made from them."""
    artifacts = tmp_path_factory.mktemp("run") / "artifacts"
    make(artifacts)
    return artifacts


@pytest.fixture
def artifacts(finished, tmp_path):
    """A copy of the finished run that a test may spoil. Its parents are found by content, so it may be moved."""
    return Path(shutil.copytree(finished, tmp_path / "artifacts"))


@pytest.fixture
def pairs(hub, client, artifacts):
    """Publishes the pairs and returns the commit that the tag names."""
    def pairs(tag="v1", **options):
        publish(artifacts, "pairs", tag=tag, **options)
        return hub.repos["datasets", "tester/anna-pairs"].tags[tag]
    return pairs


@pytest.fixture
def refusal(pairs):
    """The sentence with which publishing the pairs is refused."""
    def refusal(**options):
        with pytest.raises(RecipeError) as refused:
            pairs(**options)
        return str(refused.value)
    return refusal


@pytest.fixture
def whole_release(client, artifacts, tmp_path):
    """All other artifacts beside the pairs and triplets, made from a base that is on the Hub and lies at a path of
    this machine; the embedder, the adapted base and the reranker."""
    from small_models import make_base, make_rest

    base = tmp_path / "machine" / "base"
    make_base(base)
    HfApi().create_repo("tester/tiny-base", private=True)
    commit = HfApi().upload_folder(folder_path=base, repo_id="tester/tiny-base").oid
    return make_rest(artifacts, base, {"name": "tester/tiny-base", "commit": commit, "licence": "apache-2.0"})


@pytest.fixture
def run(hub, tmp_path):
    """Runs Python code or arguments in a process of its own, with a fresh cache, against the loopback Hub."""
    def run(*arguments, token="hf_test_write", home="home", cwd=tmp_path, **more):
        env = {**os.environ, **hub.env(tmp_path / home, token), "HF_XET_CACHE": str(tmp_path / home / "xet"),
               "PYTHONPATH": str(ROOT), **more}
        return subprocess.run([sys.executable, *map(str, arguments)], env=env, cwd=cwd, text=True,
                              capture_output=True, timeout=300)
    return run
