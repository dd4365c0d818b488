"""The quickstart at toy size, through the real scripts, with the real models: what a person runs on the first day."""

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from datasets import load_dataset

from anna_embed.artifacts import read_manifest
from anna_embed.schema import CORPUS, PAIRS, RESULTS, SCORES, TRIPLETS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SMALLER = [  # what is replaced in the YAML files, how often at least
    (r"(?<!_)limit: \d+", "limit: 24", 1), (r"corpus_limit: \d+", "corpus_limit: 40", 1),
    (r"test_limit: \d+", "test_limit: 30", 1), (r"rerank_queries: \d+", "rerank_queries: 4", 1),
    (r"    licence: CC0-1.0\n", "    licence: CC0-1.0\n    limit: 24\n    test_limit: 16\n", 4),
]
SETTINGS = ["train.max_steps=3", "train.save_steps=1", "train_reranker.max_queries=8", "train_reranker.list_size=3",
            "score.shard_size=4"]
STAGES = {"convert": "pairs", "train_reranker": "reranker", "score": "scores", "mine": "triplets", "train": "adapter",
          "export": "model", "benchmark": "results"}
ENVIRONMENT = {**os.environ, "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


class Toy:
    """The toy recipe's folder, its artifacts, and the one command that runs it."""

    def __init__(self, folder: Path):
        self.artifacts, self.recipe = folder / "artifacts", folder / "recipe"
        shutil.copytree(ROOT / "recipes" / "quickstart", self.recipe)
        text = {path: path.read_text() for path in self.recipe.glob("*.yaml")}
        for pattern, new, least in SMALLER:
            counted = {path: re.subn(pattern, new, old) for path, old in text.items()}
            assert sum(n for _, n in counted.values()) >= least, pattern
            text = {path: new_text for path, (new_text, _) in counted.items()}
        for path, new in text.items():
            path.write_text(new)

    def command(self, *settings: str) -> list[str]:
        chosen = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
        return [sys.executable, "-m", "recipes.run", str(self.recipe), "--dtype", "auto", "--mirror",
                "artifacts/mirror", "--artifacts", str(self.artifacts), "--accelerate",
                "recipes/accelerate/cpu2.yaml", *chosen]

    def run(self, *settings: str) -> list[str]:
        """Runs it to its end; the lines it printed."""
        done = subprocess.run(self.command(*settings), cwd=ROOT, env=ENVIRONMENT, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
        return done.stdout.splitlines()

    def run_and_kill(self, name: str, *settings: str) -> None:
        """Starts it and kills all its processes, with -9, as soon as the artifact is being written and a bit later."""
        process = subprocess.Popen(self.command(*settings), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        work = self.artifacts / f"{name}.partial"
        while not work.exists():
            assert process.poll() is None
            time.sleep(0.1)
        until = time.time() + 60
        while time.time() < until and not any(work.glob(".shards/*/*")) and not any(work.glob(".checkpoints/*/*")):
            assert process.poll() is None and work.exists(), "it ended before it could be killed"
            time.sleep(0.05)
        family = [process, *psutil.Process(process.pid).children(recursive=True)]
        for member in family:  # also the processes of a training, which have a session of their own
            member.kill()
        process.wait()
        psutil.wait_procs(family[1:], timeout=30)
        assert work.exists()

    def contents(self) -> dict[str, str]:
        """What each artifact holds, by digest."""
        return {name: read_manifest(self.artifacts / name)["content"] for name in STAGES.values()}


@pytest.fixture(scope="session")
def mirror():
    subprocess.run([sys.executable, "-m", "recipes.quickstart.mirror", "--output", "artifacts/mirror"], cwd=ROOT,
                   env=ENVIRONMENT, check=True)
    return ROOT / "artifacts" / "mirror"


@pytest.fixture(scope="session")
def toy(mirror, tmp_path_factory):
    return Toy(tmp_path_factory.mktemp("quickstart"))


@pytest.fixture(scope="session")
def first_run(toy):
    return toy.run()


def up_to_date(lines: list[str]) -> list[str]:
    stages = [line.partition(":")[0] for line in lines if line.endswith("is up to date")]
    return [stage for stage in stages if stage != "run"]


def test_the_whole_chain(toy, first_run):
    """If this fails, `make quickstart` does not end with seven artifacts, a table and a model."""
    assert f"run: ran {', '.join(STAGES)}" in first_run
    assert any("train: 2 process(es)" in line for line in first_run), "the launcher started one process, not two"
    for stage, name in STAGES.items():
        manifest, card = read_manifest(toy.artifacts / name), (toy.artifacts / name / "README.md").read_text()
        assert manifest["stage"] == stage and card.startswith("---\n") and manifest["content"][:12] in card
        assert any(line.startswith(f"  {toy.artifacts}/{name}  ({stage}, ") for line in first_run)
    assert read_manifest(toy.artifacts / "adapter")["training"]["steps"] == 3
    assert not [path for path in toy.artifacts.rglob(".*") if path.parent != toy.artifacts]
    table = read_manifest(toy.artifacts / "results")["table"]
    assert {row["model"] for row in table} == {"trained model", "base model", "dense teacher", "BM25", "reranker",
                                               "RRF (BM25 + dense)"}
    assert {row["n"] for row in table if row["model"] == "reranker"} == {4}
    assert any(line.startswith("  BM25 ") for line in first_run), "the table is not printed"


def test_datasets_open_with_types(toy, first_run, monkeypatch, tmp_path):
    """If this fails, people who browse the datasets see other columns than the cards say, or nothing at all."""
    monkeypatch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", False)  # it asks the network
    opened = 0
    for name, features in (("pairs", PAIRS), ("scores", SCORES), ("triplets", TRIPLETS), ("results", RESULTS)):
        for config, splits in read_manifest(toy.artifacts / name)["rows"].items():
            rows = load_dataset(str(toy.artifacts / name), config, cache_dir=str(tmp_path))
            assert {split: len(table) for split, table in rows.items()} == splits
            wanted = CORPUS if config.endswith("-corpus") else features
            assert all(table.features == wanted for table in rows.values())
            opened += 1
    assert opened >= 5 + 1 + 1 + 5 + 1


LOAD = """import sys
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1])
vectors = model.encode_query(["is venus nearer to the sun"]), model.encode_document(["Venus is a planet.", "A cake."])
print(model.similarity(*vectors).shape, sorted(model.prompts), "anna_embed" in sys.modules)"""


def load_elsewhere(model: Path, folder: Path) -> str:
    """What the stock library says of the model, from another folder and without this repository."""
    done = subprocess.run([sys.executable, "-I", "-c", LOAD, str(model)], cwd=folder, env=ENVIRONMENT, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_the_model_needs_nothing_of_ours(toy, first_run, tmp_path):
    """If this fails, the model cannot be used by those it is made for."""
    names = ["BoolQ-query", "document", "query", "sample-intents", "sample-intents-document", "sample-nli",
             "sample-sts", "sample-topics"]  # what is found in `sample-intents` are its labels, which have no prompt
    assert load_elsewhere(toy.artifacts / "model", tmp_path) == f"torch.Size([1, 2]) {names} False"


def test_the_second_run_does_nothing(toy, first_run):
    """If this fails, every look at a finished recipe costs minutes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = toy.run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert up_to_date(lines) == list(STAGES) and "run: everything is up to date" in lines
    # of the processor: the clock on the wall depends on what else runs here
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20


def test_a_deleted_artifact_is_made_again_despite_kills(toy, first_run):
    """If this fails, what is deleted stays away, more than it runs again, or a kill while scoring spoils it."""
    before = toy.contents()
    shutil.rmtree(toy.artifacts / "scores")
    toy.run_and_kill("scores")
    lines = toy.run()
    assert up_to_date(lines) == [stage for stage in STAGES if stage != "score"] and "run: ran score" in lines
    assert toy.contents() == before


def test_a_changed_key_runs_what_depends_on_it_despite_kills(toy, first_run):
    """If this fails, a changed recipe trains on old negatives, runs what does not depend on it, or a kill while
    training makes another model."""
    toy.run_and_kill("adapter", "mine.num_negatives=2")
    lines = toy.run("mine.num_negatives=2")
    assert up_to_date(lines) == ["convert", "train_reranker", "score", "mine"]
    assert "run: ran train, export, benchmark" in lines
    resumed = toy.contents()
    shutil.rmtree(toy.artifacts / "adapter")
    lines = toy.run("mine.num_negatives=2")
    assert "run: ran train" in lines and toy.contents() == resumed, "the resumed training gave another adapter"


def test_your_own_data(mirror, tmp_path):
    """If this fails, the README's worked example does not run as it stands there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## Your own data\n.*?```bash\n(.*?)```", readme, re.S).group(1)
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True, check=True,
                           capture_output=True).stdout.splitlines()
    for file in files:
        if (ROOT / file).is_file():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "mirror").symlink_to(mirror)
    done = subprocess.run(["bash", "-e", "-c", block], cwd=tmp_path, env=ENVIRONMENT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    said = load_elsewhere(tmp_path / "artifacts" / "own_data" / "model", tmp_path)
    assert said.startswith("torch.Size([1, 2]) ['document', ")
