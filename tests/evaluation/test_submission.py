"""An entry on mteb's leaderboard: its `ModelMeta` and the folder for the results repository."""

import json
import shutil

import mteb
import pytest
from mteb.models import ModelMeta
from mteb.models.instruct_wrapper import InstructSentenceTransformerModel
from mteb.results import TaskResult
from mteb.types import PromptType
from small_results import PROMPT, change, make_run

from anna_embed.__main__ import main
from anna_embed.artifacts import MANIFEST, read_manifest
from anna_embed.data.sources import REPORT, SOURCES
from anna_embed.evaluation.compare import BENCHMARK, read_scores
from anna_embed.evaluation.model_meta import instruction_of, model_meta, training_datasets
from anna_embed.evaluation.submission import write_submission
from anna_embed.parsing import RecipeError

COMMIT = "c" * 40


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_model):
    path = tmp_path_factory.mktemp("run")
    make_run(path, tiny_model)
    return path


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def covered(sources):
    return {source.name: {"mteb_tasks": source.mteb_tasks} for source in sources}


def test_training_data_of_the_report():
    """mteb's own count: 21 of the 41 tasks are trained on. The registry's entry of the report's model says 20, as it
    names SciDocsReranking, which is no task of mteb's."""
    names = [task.metadata.name for task in mteb.get_benchmark(BENCHMARK).tasks]
    meta = ModelMeta.create_empty({"training_datasets": training_datasets(covered(REPORT))})
    registered = mteb.get_model_meta("annamodels/LGAI-Embedding-Preview", fetch_from_hf=False)
    assert meta.zero_shot_percentage(names) == 48 and registered.zero_shot_percentage(names) == 51
    ours, theirs = (set(names) & m.get_training_datasets() for m in (meta, registered))
    assert len(ours) == 21 and ours - theirs == {"SCIDOCS"} and not theirs - ours


def test_every_name_in_the_sources_table_is_one_of_mteb():
    """A slip there would count as clean training."""
    assert len(training_datasets(covered(SOURCES))) >= 40
    with pytest.raises(RecipeError, match="tasks: mine: mteb_tasks: mteb has no task 'SciDocsReranking'; write"):
        training_datasets({"mine": {"mteb_tasks": ["SciDocsReranking"]}})


def test_the_submission(run, tmp_path):
    """What the results repository's own checks demand, and the scores that were measured, of this model alone."""
    left_out = write_submission(str(run), "me/anna-small", COMMIT, tmp_path / "entry", "apache-2.0", "2026-11-22")
    folder = tmp_path / "entry" / "results" / "me__anna-small" / COMMIT
    assert sorted(f.name for f in folder.iterdir()) == ["STS12.json", "STSBenchmark.json", "model_meta.json",
                                                        "run_settings.jsonl"]
    meta = json.loads((folder / "model_meta.json").read_text())
    assert (meta["name"], meta["revision"]) == ("me/anna-small", COMMIT)
    assert meta["training_datasets"] == ["Banking77Classification", "NQ", "STS12", "SciFact"]
    settings = [json.loads(line) for line in (folder / "run_settings.jsonl").read_text().splitlines()]
    for task, value in (("STS12", 0.5), ("STSBenchmark", 0.7)):
        result = TaskResult.from_disk(folder / f"{task}.json")
        assert result.task_name == task and result.get_score() == value
        assert TaskResult._parse_mteb_version_min(result.mteb_version).major >= 2
        assert [(s["splits"], s["subsets"]) for s in settings if s["task"] == task] == [(["test"], ["default"])]
    assert len(settings) == 2
    assert left_out == ["Banking77Classification: not quite mteb's data: x", "SciFact, 50 queries: a part of a task"]
    scores = read_scores(str(tmp_path / "entry"))  # as mteb reads it back
    assert dict(zip(scores["task"], scores["main_score"])) == {"STS12": 0.5, "STSBenchmark": 0.7}


def test_the_code_is_the_meta(run, tmp_path):
    """What is pasted into mteb builds the same `ModelMeta`, and names what mteb has no task for."""
    write_submission(str(run), "me/anna-small", COMMIT, tmp_path / "entry", "apache-2.0", "2026-11-22")
    code = (tmp_path / "entry" / "model_meta.py").read_text()
    names = {}
    exec(code, names)  # noqa: S102
    meta = names["anna_small"]
    folder = tmp_path / "entry" / "results" / "me__anna-small" / COMMIT
    stored = ModelMeta.model_validate_json_resolved((folder / "model_meta.json").read_text())
    for key in ("name", "revision", "n_parameters", "embed_dim", "max_tokens", "training_datasets", "loader_kwargs"):
        assert getattr(meta, key) == getattr(stored, key), key
    assert "no task of mteb's: inference, topics." in code and "first 512 tokens" in code
    assert meta.n_parameters == sum(p.numel() for p in mteb_model(run, meta).model.parameters())
    assert meta.n_embedding_parameters == mteb_model(run, meta).model[0].auto_model.embed_tokens.weight.numel()


def mteb_model(run, meta) -> InstructSentenceTransformerModel:
    """As mteb's registry would load it, from the folder in the place of the Hub."""
    return meta.model_copy(update={"name": f"{run}/model", "revision": None}).load_model()


def test_mteb_asks_the_model_as_we_did(run):
    """The prompt of the score stands in front of both sides of pairs, and of queries, never of documents."""
    meta = model_meta(f"{run}/model", "me/anna", COMMIT, {"STS12": PROMPT, "NQ": PROMPT}, "float32")
    model, (sts, nq) = mteb_model(run, meta), (mteb.get_task(name).metadata for name in ("STS12", "NQ"))
    assert model.get_task_instruction(sts, None) == model.get_task_instruction(nq, PromptType.query) == PROMPT
    assert not model.apply_instruction_to_passages


def test_few_shot_prompts_fit_the_template():
    """With examples the instruction that mteb is given is longer; the string is the same."""
    prompt = f"{PROMPT}a query\nResponse: its answer\n\n{PROMPT}"
    assert f"Instruct: {instruction_of('NQ', prompt)}\nQuery: " == prompt
    with pytest.raises(RecipeError, match="prompts: that of NQ, 'query: ', is not of the form"):
        instruction_of("NQ", "query: ")


@pytest.mark.parametrize("key, value, said", [
    ("name", "anna", "name: 'anna' is no Hub id; write org/name"),
    ("revision", "main", "revision: 'main' is no commit; write the 40 digits"),
    ("licence", "free for all", "license: 'free for all' is not as mteb has it"),
    ("release_date", "last week", "release_date: 'last week' is not as mteb has it"),
])
def test_what_mteb_would_refuse(run, tmp_path, key, value, said):
    """One sentence, and nothing written."""
    given = {"name": "me/anna", "revision": COMMIT, "licence": None, "release_date": None} | {key: value}
    with pytest.raises(RecipeError, match=said):
        write_submission(str(run), output=tmp_path / "entry", **given)
    assert not (tmp_path / "entry").exists()


def test_results_of_another_model(run, tmp_path):
    """Scores of last week's model under this week's name."""
    change(run / "model" / MANIFEST, content="other")
    with pytest.raises(RecipeError, match="are those of another model than .*; run the benchmark stage again"):
        write_submission(str(run), "me/anna", COMMIT, tmp_path / "entry")


def test_files_that_do_not_say_the_same(run, tmp_path):
    """A cache that was changed or cleared after the results were made."""
    records = read_manifest(run / "results")["mteb"]
    change(run / "results" / MANIFEST, mteb=[records[0] | {"value": 0.71}])
    with pytest.raises(RecipeError, match="says 0.7, the results 0.71"):
        write_submission(str(run), "me/anna", COMMIT, tmp_path / "entry")
    shutil.rmtree(run / ".cache")
    with pytest.raises(RecipeError, match="mteb's own file of STSBenchmark is no longer in"):
        write_submission(str(run), "me/anna", COMMIT, tmp_path / "entry")


def test_nothing_to_submit(run, tmp_path):
    """Only scores on parts and altered copies, or none of mteb's at all; and no folder is overwritten."""
    records = read_manifest(run / "results")["mteb"]
    with pytest.raises(RecipeError, match="output: .* exists already"):
        write_submission(str(run), "me/anna", COMMIT, tmp_path)
    change(run / "results" / MANIFEST, mteb=[records[1], records[3]])
    with pytest.raises(RecipeError, match="a leaderboard takes none of them"):
        write_submission(str(run), "me/anna", COMMIT, tmp_path / "entry")
    change(run / "results" / MANIFEST, mteb=[])
    with pytest.raises(RecipeError, match="has no mteb tasks; score some"):
        write_submission(str(run), "me/anna", COMMIT, tmp_path / "entry")


def test_the_command(run, tmp_path, capsys):
    """`python -m anna_embed submission`."""
    main(["submission", str(run), "--name", "me/anna", "--revision", COMMIT, "--output", str(tmp_path / "entry")])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"submission: made {tmp_path / 'entry'}" and len(said) == 3
