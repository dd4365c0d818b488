"""Publishing one artifact to a loopback Hub: one commit and a tag, nothing the second time, and refusals before the
first byte. Whole releases are in `test_release.py`, failures in `test_faults.py`."""

import json
import re

import pandas
import pytest
from huggingface_hub import HfApi
from small_release import change, describe, publish

from anna_embed.artifacts import digest
from anna_embed.hub.cards import render
from anna_embed.parsing import RecipeError

PAIRS = ("datasets", "tester/anna-pairs")
FILES = {"README.md", "manifest.json", "NQ/train-00000-of-00001.parquet", "NQ/test-00000-of-00001.parquet",
         "NQ-corpus/train-00000-of-00001.parquet", ".gitattributes"}
SOME_TOKEN = "hf_" + "Ab3" * 11


@pytest.fixture
def pairs(hub, client, artifacts):
    """Publishes the pairs and returns the commit that the tag names."""
    def pairs(tag="v1", **options):
        publish(artifacts, "pairs", tag=tag, **options)
        return hub.repos[PAIRS].tags[tag]
    return pairs


@pytest.fixture
def refusal(pairs):
    """The sentence with which publishing the pairs is refused."""
    def refusal(**options):
        with pytest.raises(RecipeError) as refused:
            pairs(**options)
        return str(refused.value)
    return refusal


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
        "choose another --tag.")
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


# ---- refusals: before the first byte -----------------------------------------------------------------------------

@pytest.mark.parametrize("token, sentence", [
    ("", "HF_TOKEN: there is no token; log in with `hf auth login`, or set HF_TOKEN to a token with write access."),
    ("hf_wrong", "HF_TOKEN: {endpoint} does not know this token; nothing was written; make a new one in your "
     "account's settings, and log in with it (`hf auth login`)."),
    ("hf_test_read", "HF_TOKEN: the token of 'tester' may only read; make one with write access in your account's "
     "settings, and log in with it (`hf auth login`)."),
    ("hf_test_other", "namespace: 'other' may not write to 'tester'; name one of other."),
    ("hf_test_fine", "HF_TOKEN: this fine-grained token of 'tester' has no write access to the repositories of "
     "'tester'; give it that in your account's settings, or use another."),
], ids=["none", "wrong", "read-only", "of another", "fine-grained"])
def test_tokens(hub, refusal, monkeypatch, token, sentence):
    """If this fails, the user learns after an hour of uploading that the token was never good enough, or not why."""
    monkeypatch.setenv("HF_TOKEN", token)
    assert refusal() == sentence.format(endpoint=hub.endpoint)
    assert hub.writes() == []


def test_a_fine_grained_token_that_may_write(hub, pairs, monkeypatch):
    """If this fails, the tokens that the Hub recommends are refused."""
    scope = {"entity": {"type": "user", "name": "tester"}, "permissions": ["repo.content.read", "repo.write"]}
    hub.users["hf_test_fine"]["fineGrained"] = {"scoped": [scope]}
    monkeypatch.setenv("HF_TOKEN", "hf_test_fine")
    assert pairs() == hub.repos[PAIRS].head


def test_the_token_of_the_login_file(hub, pairs, monkeypatch, tmp_path):
    """If this fails, `hf auth login` is not enough to publish."""
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "no-login").write_text("hf_test_write")
    assert pairs() == hub.repos[PAIRS].head


@pytest.mark.parametrize("name", ["NQ/notes.jsonl", "README.md", "training.log", "settings.yaml", "manifest.json"])
@pytest.mark.parametrize("token", [SOME_TOKEN, "hf_test_write"], ids=["some token", "the live token"])
def test_a_planted_token(hub, refusal, artifacts, name, token):
    """If this fails, a token in a log or a config becomes readable by everyone who reads the release."""
    path = artifacts / "pairs" / name
    text = path.read_text() if path.exists() else ""
    in_json = text.replace('"seconds"', f'"hub_token": "{token}", "seconds"')
    path.write_text(in_json if name == "manifest.json" else text + token)
    describe(artifacts / "pairs")
    assert refusal() == (
        f"artifacts: '{path}' holds an access token of the Hub; revoke that token in your account's settings, take it "
        "out of the file, and publish again.")
    assert hub.writes() == [] and hub.leaks == []


@pytest.mark.parametrize("compression", ["snappy", "zstd"])
@pytest.mark.parametrize("row", [{"query": f"my {SOME_TOKEN}"}, {"negatives": ["x", f"a{SOME_TOKEN}"]}],
                         ids=["text", "list of texts"])
def test_a_token_in_a_row(hub, refusal, artifacts, row, compression):
    """If this fails, a token in the text of a row leaves, hidden from a search of the bytes by the compression."""
    path = artifacts / "pairs/NQ/test-00000-of-00001.parquet"
    rows = [{key: [value] if key == "negatives" else value for key, value in
             {"query": f"no {n}", "negatives": "-"}.items()} for n in range(500)] + [{"query": "-"} | row]
    pandas.DataFrame(rows).to_parquet(path, compression=compression)
    describe(artifacts / "pairs")
    assert refusal().startswith(f"artifacts: '{path}' holds an access token of the Hub; revoke that token")
    assert hub.writes() == []


def test_a_public_repository(hub, refusal):
    """If this fails, rows that were to stay private appear in a repository that anyone can read."""
    hub.create("datasets", "tester/anna-pairs", False, "tester")
    assert refusal() == (
        "private: tester/anna-pairs is public, and this release is to be private; change the repository's visibility "
        "in its settings, or give --private False or another --prefix.")
    assert hub.writes() == []


def test_a_repository_that_is_public_from_the_start(hub, refusal, monkeypatch):
    """If this fails, an organisation whose new repositories are public shows everyone what was to be private."""
    create = hub.create
    monkeypatch.setattr(hub, "create", lambda kind, name, private, author: create(kind, name, False, author))
    assert "tester/anna-pairs is public, and this release is to be private" in refusal()
    assert hub.repos[PAIRS].history() == ["initial commit"] and hub.xet.files == {}


def test_public_on_demand(hub, pairs, refusal):
    """If this fails, a release cannot be public at all, or a public one overwrites a private repository."""
    pairs(private=False)
    assert not hub.repos[PAIRS].private
    assert "is public, and this release is to be private" in refusal(tag="v2")


def test_a_card_that_the_hub_refuses(hub, refusal, artifacts):
    """If this fails, the Hub rejects the commit after everything was uploaded."""
    card = artifacts / "pairs/README.md"
    card.write_text(card.read_text().replace("license: cc-by-sa-3.0", "license: my-own"))
    assert "the Hub does not accept the front matter" in refusal()
    card.write_text("no front matter")
    assert refusal() == (f"artifacts: the front matter of '{card}' names no license; add the key 'license', "
                         "or delete the file to have it rendered.")
    assert hub.writes() == []


def test_files_that_the_manifest_does_not_describe(hub, refusal, artifacts):
    """If this fails, the card of a release states numbers of other data than the release holds."""
    (artifacts / "pairs/NQ/train-00000-of-00001.parquet").write_bytes(b"edited")
    assert "are not those that its manifest.json describes" in refusal()
    assert hub.writes() == []


def test_what_does_not_open_is_not_tagged(hub, refusal, artifacts):
    """If this fails, a release gets its tag although nobody can load it."""
    (artifacts / "pairs/NQ/train-00000-of-00001.parquet").write_bytes(b"PAR1 no rows")
    describe(artifacts / "pairs")
    assert "tester/anna-pairs: what was published does not open at commit" in refusal()
    assert hub.repos[PAIRS].tags == {}


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
