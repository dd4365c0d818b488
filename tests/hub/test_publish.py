"""Publishing against a loopback Hub: one commit and a tag, nothing the second time, nothing torn by a failure."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import HfApi

from anna_embed.artifacts import digest
from anna_embed.hub.cards import render
from anna_embed.hub.plan import prepare
from anna_embed.hub.publish import publish, tie_together, upload
from anna_embed.parsing import RecipeError

PAIRS = ("datasets", "tester/anna-pairs")
FILES = {"README.md", "manifest.json", "NQ/train-00000-of-00001.parquet", "NQ/test-00000-of-00001.parquet",
         "NQ-corpus/train-00000-of-00001.parquet", ".gitattributes"}


def pairs(artifacts, tag="v1", **options):
    return publish(artifacts / "pairs", "tester/anna-pairs", "dataset", tag, **options)


def refusal(artifacts, **options):
    with pytest.raises(RecipeError) as refused:
        pairs(artifacts, **options)
    return str(refused.value)


def test_one_private_commit_and_a_tag(hub, client, artifacts):
    """If this fails, a release is public by accident, torn over several commits, or not the one that the tag names."""
    before = digest(artifacts / "pairs")
    commit = pairs(artifacts)
    repo = hub.repos[PAIRS]
    assert repo.private and repo.tags == {"v1": commit} and repo.head == commit
    assert repo.history() == ["Release v1", "initial commit"]
    assert set(repo.resolve("v1")["files"]) == FILES
    assert digest(artifacts / "pairs") == before


def test_the_published_card_names_the_published_data(hub, client, artifacts, capsys):
    """If this fails, the card tells readers to load a folder of the publisher, or what was written by hand is lost."""
    card = artifacts / "pairs/README.md"
    render(artifacts / "pairs", {**json.loads((artifacts / "pairs/manifest.json").read_text()), "stage": "older"})
    assert 'load_dataset("./pairs", "NQ")' in card.read_text()
    published = published_card(hub, pairs(artifacts))
    assert 'load_dataset("tester/anna-pairs", "NQ", revision="v1")' in published and "older" not in published
    card.write_text(card.read_text().replace("# pairs", "# My own pairs"))
    assert published_card(hub, pairs(artifacts, tag="v2")) == card.read_text()
    assert f"{card}: was edited by hand and goes out as it is" in capsys.readouterr().err


def published_card(hub, commit):
    return hub.objects[hub.repos[PAIRS].resolve(commit)["files"]["README.md"]["oid"]].decode()


def test_the_same_again_writes_nothing(hub, client, artifacts):
    """If this fails, every rerun of a finished recipe makes a commit, and readers cannot tell what changed."""
    commit = pairs(artifacts)
    written = len(hub.writes())
    assert pairs(artifacts) == commit
    assert len(hub.writes()) == written


def test_old_files_leave_in_the_same_commit(hub, client, artifacts):
    """If this fails, a shard of the last release stays beside the new ones and is loaded with them."""
    HfApi().create_repo("tester/anna-pairs", repo_type="dataset", private=True)
    HfApi().upload_file(path_or_fileobj=b"old", path_in_repo="NQ/train-00001-of-00002.parquet",
                        repo_id="tester/anna-pairs", repo_type="dataset")
    commit = pairs(artifacts)
    assert set(hub.repos[PAIRS].resolve(commit)["files"]) == FILES
    assert hub.repos[PAIRS].history()[0] == "Release v1" and len(hub.repos[PAIRS].commits) == 3


def test_what_is_no_part_of_the_artifact_stays_here(hub, client, artifacts):
    """If this fails, optimizer states and pickled training arguments of a private machine are published."""
    for name in ("training_args.bin", "optimizer.pt", ".cache/x", "checkpoint-5/model.safetensors", "rng_state_0.pth"):
        (artifacts / "pairs" / name).parent.mkdir(exist_ok=True)
        (artifacts / "pairs" / name).write_bytes(b"private")
    describe(artifacts / "pairs")
    commit = pairs(artifacts)
    assert set(hub.repos[PAIRS].resolve(commit)["files"]) == FILES


def describe(folder):
    """Makes the manifest describe the files that are there now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "content": digest(folder)}))


# ---- failures ----------------------------------------------------------------------------------------------------

FAULTS = {"503": {"status": 503, "headers": {"Retry-After": "0"}}, "reset before": {"cut": "request"},
          "reset after": {"cut": "response"}}
REQUESTS = [k if k % 4 == 1 else pytest.param(k, marks=pytest.mark.slow) for k in range(22)]  # a publish makes 21


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("after", REQUESTS)
def test_a_failure_at_request_k_then_a_plain_rerun(hub, client, artifacts, fault, after):
    """If this fails, a broken connection leaves half a release, a tag on nothing, or two commits for one release."""
    hub.faults.add(after=after, **fault)  # from the k-th request on, the Hub is down
    try:
        pairs(artifacts)
    except RecipeError as error:
        assert "run the same command again" in str(error)
    torn = hub.repos.get(PAIRS)
    if torn:
        assert set(torn.resolve("main")["files"]) in (FILES, {".gitattributes"})
        assert not torn.tags or set(torn.resolve("v1")["files"]) == FILES
    hub.faults.clear()
    commit = pairs(artifacts)
    assert hub.repos[PAIRS].history() == ["Release v1", "initial commit"]
    assert hub.repos[PAIRS].tags == {"v1": commit} and hub.repos[PAIRS].private


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("after", [7, 12, 15])
def test_a_failure_at_request_k_of_an_update(hub, client, artifacts, fault, after):
    """If this fails, readers of main get some files of the new release with others of the old."""
    commit = pairs(artifacts)
    old = hub.repos[PAIRS].resolve(commit)["files"]
    (artifacts / "pairs/NQ/test-00000-of-00001.parquet").write_bytes(b"PAR1 other rows")
    describe(artifacts / "pairs")
    plan = pairs(artifacts, tag="v2", dry_run=True)
    hub.faults.add(after=after, **fault)
    with pytest.raises(RecipeError, match="run the same command again"):
        pairs(artifacts, tag="v2")
    files = hub.repos[PAIRS].resolve("main")["files"]
    assert files == old or all(files[name]["size"] == file.size for name, file in plan.files.items())
    assert hub.repos[PAIRS].resolve("v1")["files"] == old
    hub.faults.clear()
    assert pairs(artifacts, tag="v2") == hub.repos[PAIRS].head
    assert hub.repos[PAIRS].history() == ["Release v2", "Release v1", "initial commit"]


@pytest.mark.parametrize("fault", [{"status": 429, "headers": {"Retry-After": "7"}}, {"status": 500},
                                   {"cut": "response"}], ids=["429", "500", "answer lost"])
def test_every_call_survives_one_failure(hub, client, artifacts, fault):
    """If this fails, one hiccup of the Hub ends a release that took hours to make, or commits it twice."""
    routes = ["/api/whoami", "/api/validate-yaml", "/api/repos/create", "GET /api/datasets/.*pairs", "/refs", "/tree/",
              "/preupload/", "/info/lfs/objects/batch", "PUT /lfs/", "/commit/", "POST .*/tag/"]
    rules = [hub.faults.add(match=route, times=1, **fault) for route in routes]
    commit = pairs(artifacts)
    assert all(rule["hits"] == 1 for rule in rules[:3] + rules[5:])
    assert hub.repos[PAIRS].history() == ["Release v1", "initial commit"] and hub.repos[PAIRS].tags == {"v1": commit}
    assert "Retry-After" not in fault.get("headers", {}) or 7 in client


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_is_not_repeated(hub, client, artifacts, status):
    """If this fails, a token without rights is tried again and again, until the Hub locks the account out."""
    rule = hub.faults.add(match="/commit/", status=status)
    assert "it holds the whole release or nothing: it was created just now" in refusal(artifacts)
    assert rule["hits"] == 1 and client == []


def test_retries_end(hub, client, artifacts):
    """If this fails, a Hub that is down for good keeps the command waiting for ever."""
    rule = hub.faults.add(match="/api/whoami", status=503)
    assert refusal(artifacts) == ("tester: the Hub failed (503: Injected fault); nothing was written; run the same "
                                  "command again, it continues.")
    assert rule["hits"] == 6 and client == [1, 2, 4, 8, 16]


def test_two_publishers_at_once(hub, client, artifacts):
    """If this fails, two runs of one release fight: one gives up, or the second commits the same once more."""
    with ThreadPoolExecutor(4) as pool:
        commits = {future.result() for future in [pool.submit(pairs, artifacts) for _ in range(4)]}
    assert hub.repos[PAIRS].history() == ["Release v1", "initial commit"]
    assert commits == {hub.repos[PAIRS].tags["v1"]}


def test_another_commit_in_between(hub, client, artifacts):
    """If this fails, a release is given up, or overwrites unseen what another commits meanwhile."""
    pairs(artifacts)
    (artifacts / "pairs/README.md").write_text((artifacts / "pairs/README.md").read_text() + "\nMore.\n")
    hub.faults.add(match="/commit/", times=1, status=412)
    commit = pairs(artifacts, tag="v2")
    assert hub.repos[PAIRS].history() == ["Release v2", "Release v1", "initial commit"]
    assert hub.repos[PAIRS].tags["v2"] == commit


def test_a_tag_is_never_moved(hub, client, artifacts):
    """If this fails, a paper that cites v1 means other rows tomorrow."""
    commit = pairs(artifacts)
    manifest = json.loads((artifacts / "pairs/manifest.json").read_text())
    (artifacts / "pairs/manifest.json").write_text(json.dumps({**manifest, "seconds": 99.0}))
    (artifacts / "pairs/README.md").unlink()
    written = len(hub.writes())
    assert refusal(artifacts) == (
        f"tag: 'v1' of tester/anna-pairs already names other content (commit {commit[:12]}); a tag is never moved; "
        "choose another --tag.")
    assert len(hub.writes()) == written
    assert pairs(artifacts, tag="v2") == hub.repos[PAIRS].head != commit
    assert pairs(artifacts, tag="v2") == hub.repos[PAIRS].tags["v2"] and hub.repos[PAIRS].tags["v1"] == commit


# ---- refusals: before the first byte -----------------------------------------------------------------------------

@pytest.mark.parametrize("token, sentence", [
    ("", "HF_TOKEN: there is no token; log in with `hf auth login`, or set HF_TOKEN to a token with write access."),
    ("hf_wrong", "HF_TOKEN: {endpoint} does not know this token; nothing was written; make a new one in your "
     "account's settings, and log in with it (`hf auth login`)."),
    ("hf_test_read", "HF_TOKEN: the token of 'tester' may only read; make one with write access in your account's "
     "settings, and log in with it (`hf auth login`)."),
    ("hf_test_other", "namespace: 'other' may not write to 'tester'; name one of other."),
], ids=["none", "wrong", "read-only", "of another"])
def test_tokens(hub, client, artifacts, monkeypatch, token, sentence):
    """If this fails, the user learns after an hour of uploading that the token was never good enough, or not why."""
    monkeypatch.setenv("HF_TOKEN", token)
    assert refusal(artifacts) == sentence.format(endpoint=hub.endpoint)
    assert hub.writes() == []


@pytest.mark.parametrize("name", ["NQ/notes.jsonl", "README.md", "training.log", "settings.yaml", "manifest.json"])
@pytest.mark.parametrize("token", ["hf_" + "Ab3" * 11, "hf_test_write"], ids=["some token", "the live token"])
def test_a_planted_token(hub, client, artifacts, name, token):
    """If this fails, a token in a log or a config becomes readable by everyone who reads the release."""
    path = artifacts / "pairs" / name
    text = path.read_text() if path.exists() else ""
    in_json = text.replace('"seconds"', f'"hub_token": "{token}", "seconds"')
    path.write_text(in_json if name == "manifest.json" else text + token)
    describe(artifacts / "pairs")
    assert refusal(artifacts) == (
        f"artifacts: '{path}' holds an access token of the Hub; revoke that token in your account's settings, take it "
        "out of the file, and publish again.")
    assert hub.writes() == [] and hub.leaks == []


def test_a_public_repository(hub, client, artifacts):
    """If this fails, rows that were to stay private appear in a repository that anyone can read."""
    hub.create("datasets", "tester/anna-pairs", False, "tester")
    assert refusal(artifacts) == (
        "private: tester/anna-pairs is public, and this release is to be private; change the repository's visibility "
        "in its settings, or give --private False or another --prefix.")
    assert hub.writes() == []


def test_a_card_that_the_hub_refuses(hub, client, artifacts):
    """If this fails, the Hub rejects the commit after everything was uploaded."""
    card = artifacts / "pairs/README.md"
    card.write_text(card.read_text().replace("license: cc-by-sa-3.0", "license: my-own"))
    assert "the Hub does not accept the front matter" in refusal(artifacts)
    card.write_text("no front matter")
    assert refusal(artifacts) == (f"artifacts: the front matter of '{card}' names no license; add the key 'license', "
                                  "or delete the file to have it rendered.")
    assert hub.writes() == []


def test_files_that_the_manifest_does_not_describe(hub, client, artifacts):
    """If this fails, the card of a release states numbers of other data than the release holds."""
    (artifacts / "pairs/NQ/train-00000-of-00001.parquet").write_bytes(b"edited")
    assert "are not those that its manifest.json describes" in refusal(artifacts)
    assert hub.writes() == []


def test_a_parent_that_was_made_again(hub, client, artifacts):
    """If this fails, a release pairs triplets with rows that they were not mined from."""
    manifest = json.loads((artifacts / "triplets/manifest.json").read_text())
    manifest["parents"]["pairs"]["reference"] = str(artifacts / "pairs")
    manifest["parents"]["pairs"]["digest"] = "0" * 64
    (artifacts / "triplets/manifest.json").write_text(json.dumps(manifest))
    release = {name: f"tester/anna-{name}@v1" for name in ("pairs", "triplets")}
    with pytest.raises(RecipeError, match="was made from another .*pairs' than the one that is there now"):
        prepare(artifacts / "triplets", "tester/anna-triplets", "dataset", "v1", True, release)
    assert hub.writes() == []


def test_an_adapter_of_a_model_that_nobody_else_has(hub, client, artifacts, tmp_path):
    """If this fails, the adapter on the Hub asks everyone for a folder of the publisher's machine."""
    config = artifacts / "triplets/adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": str(tmp_path)}))
    describe(artifacts / "triplets")
    with pytest.raises(RecipeError, match=f"names the base model '{tmp_path}', which is a path of this machine"):
        publish(artifacts / "triplets", "tester/anna-triplets", "dataset", "v1")
    assert hub.writes() == []


def test_a_collection_is_a_convenience(hub, client, artifacts, capsys):
    """If this fails, a complete release ends in an error because a list of links could not be made."""
    plan = prepare(artifacts / "pairs", "tester/anna-pairs", "dataset", "v1", True, {"pairs": "tester/anna-pairs@v1"})
    upload(plan)
    hub.faults.add(match="/api/collections", status=403)
    assert tie_together("anna v1", [plan]) is None and "the release is complete without it" in capsys.readouterr().out
    hub.faults.clear()
    assert tie_together("anna v1", [plan]) == tie_together("anna v1", [plan])
    assert [len(c["items"]) for c in hub.collections.values()] == [1]


def test_dry_run(hub, client, artifacts):
    """If this fails, `--dry_run` publishes, or does not say what publishing would do."""
    plan = pairs(artifacts, dry_run=True)
    assert hub.writes() == [] and plan.is_new and set(plan.changed) == FILES - {".gitattributes"}
    assert "tester/anna-pairs (private dataset, would be created)" in str(plan)
    pairs(artifacts)
    renamed = artifacts / "pairs/NQ/validation-00000-of-00001.parquet"
    (artifacts / "pairs/NQ/test-00000-of-00001.parquet").rename(renamed)
    describe(artifacts / "pairs")
    card = artifacts / "pairs/README.md"
    card.write_text(card.read_text().replace("NQ/test-*", "NQ/validation-*"))
    written = len(hub.writes())
    plan = str(pairs(artifacts, tag="v2", dry_run=True))
    assert f"  upload  NQ/validation-00000-of-00001.parquet  {renamed.stat().st_size:,} bytes\n" in plan
    assert "  remove  NQ/test-00000-of-00001.parquet\n" in plan and "2 unchanged; then tag v2" in plan
    assert len(hub.writes()) == written
