"""Publishing one artifact to a loopback Hub: one commit and a tag, nothing the second time, and what failures leave.
Refusals are in `test_refusals.py`, whole releases in `test_release.py`, failures of these in `test_faults.py`."""

import json
import re

import pytest
from huggingface_hub import HfApi
from small_release import change, describe

from anna_embed.artifacts import digest
from anna_embed.hub.cards import render
from anna_embed.parsing import RecipeError

PAIRS = ("datasets", "tester/anna-pairs")
FILES = {"README.md", "manifest.json", "NQ/train-00000-of-00001.parquet", "NQ/test-00000-of-00001.parquet",
         "NQ-corpus/train-00000-of-00001.parquet", ".gitattributes"}


def test_one_private_commit_and_a_tag(hub, pairs, artifacts):
    """If this fails, a release is public by accident, torn over several commits, or not the one that the tag names."""
    before = digest(artifacts / "pairs")
    commit = pairs()
    repo = hub.repos[PAIRS]
    assert repo.private and repo.tags == {"v1": commit} and repo.head == commit
    assert repo.history() == ["Release v1", "initial commit"]
    assert set(repo.resolve("v1")["files"]) == FILES
    assert digest(artifacts / "pairs") == before
    assert [path.name for path in artifacts.glob(".*")] == []  # what was downloaded to be opened again is gone


def test_the_published_card_names_the_published_data(hub, pairs, artifacts, capsys):
    """If this fails, the card tells readers to load a folder of the publisher, or what was written by hand is lost."""
    card = artifacts / "pairs/README.md"
    render(artifacts / "pairs", {**json.loads((artifacts / "pairs/manifest.json").read_text()), "stage": "older"})
    assert 'load_dataset("./pairs", "NQ")' in card.read_text()
    published = hub.read(PAIRS, pairs(), "README.md")
    assert 'load_dataset("tester/anna-pairs", "NQ", revision="v1")' in published and "older" not in published
    card.write_text(card.read_text().replace("# pairs", "# My own pairs"))
    assert hub.read(PAIRS, pairs(tag="v2"), "README.md") == card.read_text()
    assert capsys.readouterr().err.count(f"{card}: was edited by hand and goes out as it is") == 1


def test_the_same_again_writes_nothing(hub, pairs):
    """If this fails, every rerun of a finished recipe makes a commit, and readers cannot tell what changed."""
    commit = pairs()
    written = len(hub.writes())
    assert pairs() == commit
    assert len(hub.writes()) == written


def test_old_files_leave_in_the_same_commit(hub, pairs):
    """If this fails, a shard of the last release stays beside the new ones and is loaded with them."""
    HfApi().create_repo("tester/anna-pairs", repo_type="dataset", private=True)
    HfApi().upload_file(path_or_fileobj=b"old", path_in_repo="NQ/train-00001-of-00002.parquet",
                        repo_id="tester/anna-pairs", repo_type="dataset")
    commit = pairs()
    assert set(hub.repos[PAIRS].resolve(commit)["files"]) == FILES
    assert hub.repos[PAIRS].history()[0] == "Release v1" and len(hub.repos[PAIRS].commits) == 3


def test_what_others_put_there_stays(hub, pairs):
    """If this fails, the terms that an owner added, and scores that others handed in, go with the next release."""
    HfApi().create_repo("tester/anna-pairs", repo_type="dataset", private=True)
    for name in ("LICENSE.txt", "NOTICE", ".eval_results/somebody.yaml", "old.csv"):
        HfApi().upload_file(path_or_fileobj=b"theirs", path_in_repo=name, repo_id="tester/anna-pairs",
                            repo_type="dataset")
    commit = pairs()
    assert set(hub.repos[PAIRS].resolve(commit)["files"]) == FILES | {
        "LICENSE.txt", "NOTICE", ".eval_results/somebody.yaml"}


def test_what_is_no_part_of_the_artifact_stays_here(hub, pairs, artifacts):
    """If this fails, optimizer states and pickled training arguments of a private machine are published."""
    for name in ("training_args.bin", "optimizer.pt", ".cache/x", "checkpoint-5/model.safetensors", "rng_state_0.pth"):
        (artifacts / "pairs" / name).parent.mkdir(exist_ok=True)
        (artifacts / "pairs" / name).write_bytes(b"private")
    describe(artifacts / "pairs")
    commit = pairs()
    assert set(hub.repos[PAIRS].resolve(commit)["files"]) == FILES


def test_a_tag_is_never_moved(hub, pairs, refusal, artifacts):
    """If this fails, a paper that cites v1 means other rows tomorrow."""
    commit = pairs()
    manifest = json.loads((artifacts / "pairs/manifest.json").read_text())
    (artifacts / "pairs/manifest.json").write_text(json.dumps({**manifest, "seconds": 99.0}))
    (artifacts / "pairs/README.md").unlink()
    written = len(hub.writes())
    assert refusal() == (
        f"tag: 'v1' of tester/anna-pairs already names other content (commit {commit[:12]}); a tag is never moved; "
        "choose another --tag for a new version of the same, or another --prefix for something else.")
    assert len(hub.writes()) == written
    assert pairs(tag="v2") == hub.repos[PAIRS].head != commit
    assert pairs(tag="v2") == hub.repos[PAIRS].tags["v2"] and hub.repos[PAIRS].tags["v1"] == commit


def test_a_tag_that_appears_meanwhile(hub, refusal, monkeypatch):
    """If this fails, of two that publish other content under one tag, both believe that theirs is what it names."""
    from anna_embed.hub import publish as steps

    def open_again(plan):
        hub.repos[PAIRS].tags["v1"] = next(iter(hub.repos[PAIRS].commits))

    monkeypatch.setattr(steps, "open_again", open_again)
    assert re.fullmatch("tag: 'v1' of tester/anna-pairs already names commit .{12}, and a tag is never moved; the "
                        "files are at .{12}: publish with another --tag.", refusal())


# ---- failures ----------------------------------------------------------------------------------------------------

FAULTS = {"503": {"status": 503, "headers": {"Retry-After": "0"}}, "reset before": {"cut": "request"},
          "reset after": {"cut": "response"}}
REQUESTS = [k if k % 4 == 1 else pytest.param(k, marks=pytest.mark.slow) for k in range(22)]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("after", REQUESTS)
def test_a_failure_at_request_k_then_a_plain_rerun(hub, pairs, fault, after):
    """If this fails, a broken connection leaves half a release, a tag on nothing, or two commits for one release."""
    hub.faults.add(after=after, **fault)  # from the k-th request on, the Hub is down
    try:
        pairs()
    except RecipeError as error:
        assert "run the same command again" in str(error)
    torn = hub.repos.get(PAIRS)
    if torn:
        assert set(torn.resolve("main")["files"]) in (FILES, {".gitattributes"})
        assert not torn.tags or set(torn.resolve("v1")["files"]) == FILES
    hub.faults.clear()
    commit = pairs()
    assert hub.repos[PAIRS].history() == ["Release v1", "initial commit"]
    assert hub.repos[PAIRS].tags == {"v1": commit} and hub.repos[PAIRS].private


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("after", [7, 12, 15])
def test_a_failure_at_request_k_of_an_update(hub, pairs, artifacts, fault, after):
    """If this fails, readers of main get some files of the new release with others of the old."""
    commit = pairs()
    old = hub.repos[PAIRS].resolve(commit)["files"]
    change(artifacts)
    hub.faults.add(after=after, **fault)
    with pytest.raises(RecipeError, match="run the same command again"):
        pairs(tag="v2")
    files = hub.repos[PAIRS].resolve("main")["files"]
    assert files == old or hub.repos[PAIRS].history()[0] == "Release v2"
    assert hub.repos[PAIRS].resolve("v1")["files"] == old
    hub.faults.clear()
    assert pairs(tag="v2") == hub.repos[PAIRS].head
    assert hub.repos[PAIRS].history() == ["Release v2", "Release v1", "initial commit"]


@pytest.mark.parametrize("fault", [{"status": 429, "headers": {"Retry-After": "7"}}, {"status": 500},
                                   {"cut": "response"}], ids=["429", "500", "answer lost"])
def test_every_call_survives_one_failure(hub, client, pairs, fault):
    """If this fails, one hiccup of the Hub ends a release that took hours to make, or commits it twice."""
    routes = ["/api/whoami", "/api/validate-yaml", "/api/repos/create", "GET /api/datasets/.*pairs", "/refs", "/tree/",
              "/preupload/", "/info/lfs/objects/batch", "PUT /lfs/", "/commit/", "POST .*/tag/"]
    rules = [hub.faults.add(match=route, times=1, **fault) for route in routes]
    commit = pairs()
    assert all(rule["hits"] == 1 for rule in rules[:3] + rules[5:])
    assert hub.repos[PAIRS].history() == ["Release v1", "initial commit"] and hub.repos[PAIRS].tags == {"v1": commit}
    assert "Retry-After" not in fault.get("headers", {}) or 7 in client


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_is_not_repeated(hub, client, refusal, status):
    """If this fails, a token without rights is tried again and again, until the Hub locks the account out."""
    rule = hub.faults.add(match="/commit/", status=status)
    assert "it holds the whole release or nothing: it was created just now" in refusal()
    assert rule["hits"] == 1 and client == []


def test_retries_end(hub, client, refusal):
    """If this fails, a Hub that is down for good keeps the command waiting for ever."""
    rule = hub.faults.add(match="/api/whoami", status=503)
    assert refusal() == ("tester: the Hub failed (503: Injected fault); nothing was written; run the same command "
                         "again, it continues.")
    assert rule["hits"] == 6 and client == [1, 2, 4, 8, 16]
