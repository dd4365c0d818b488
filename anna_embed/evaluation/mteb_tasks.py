"""mteb's own tasks on a SentenceTransformer folder, with the prompts it was trained with."""

import hashlib
import json
from pathlib import Path

from anna_embed.artifacts import Located, locate
from anna_embed.parsing import RecipeError
from anna_embed.prompts import query_prompt


def get_tasks(names: list[str]) -> list:
    """mteb task objects, English subsets only.

    Raises:
        [`RecipeError`]: mteb knows no such task.
    """
    import mteb

    try:
        return [mteb.get_task(name, languages=["eng"], exclusive_language_filter=True) for name in names]
    except KeyError as error:
        raise RecipeError(f"tasks: mteb has no task {error}; `mteb available-tasks` lists them.") from None


def locate_tasks(names: list[str], mirrors: list[str]) -> dict[str, Located]:
    """The dataset of each task: part of what the results are made from."""
    found = {}
    for task in get_tasks(names):
        dataset = task.metadata.dataset
        reference = dataset["path"] if mirrors else f"{dataset['path']}@{dataset['revision']}"
        name = task.metadata.name
        found[f"mteb {name}"] = locate(f"tasks: {name}", reference, "dataset", mirrors, download=False)
    return found


def prompts_by_task(tasks: dict[str, dict], prompts: dict[str, str]) -> dict[str, str]:
    """The prompt of each mteb task that the model was trained for, under the task's own name or one that it covers.

    Args:
        tasks (`dict[str, dict]`): The recipe's tasks, with `instruction` and perhaps `mteb_tasks`.
        prompts (`dict[str, str]`): Prompt of each of the recipe's tasks.
    """
    covered = {name: prompts[task] for task, t in tasks.items() for name in t.get("mteb_tasks", [])}
    return covered | prompts


def run_tasks(names: list[str], model_path: str, digest: str, prompts: dict[str, str], located: dict[str, Located],
              cache: Path, batch_size: int, dtype: str) -> list[dict]:
    """Main scores of the tasks.

    Args:
        names (`list[str]`): mteb task names.
        model_path (`str`): A SentenceTransformer folder.
        digest (`str`): Of its content.
        prompts (`dict[str, str]`): Prompt by mteb task; the others get mteb's instruction in our format.
        located (`dict[str, Located]`): From `locate_tasks`.
        cache (`Path`): mteb's result cache; finished tasks are not run again.
        batch_size (`int`): Texts per forward pass.
        dtype (`str`): Type of the weights.
    """
    import mteb
    from mteb.models.instruct_wrapper import InstructSentenceTransformerModel

    ready = set(prompts.values())
    model = InstructSentenceTransformerModel(
        model_path, None, apply_instruction_to_passages=False, prompts_dict=prompts, model_kwargs={"dtype": dtype},
        instruction_template=lambda prompt, _: prompt if prompt in ready else query_prompt(prompt))
    rows = []
    for task in get_tasks(names):
        at = located[f"mteb {task.metadata.name}"]
        if Path(at.path).exists():
            dataset = {**task.metadata.dataset, "path": str(Path(at.path).resolve())}
            task.metadata = task.metadata.model_copy(update={"dataset": dataset})
        # mteb files its results under name and revision: two local models would share one entry, so the revision
        # stands for all that a score depends on.
        made_from = json.dumps([digest, sorted(prompts.items()), at.digest, dtype])
        model.mteb_model_meta = mteb.models.ModelMeta.create_empty(overwrites={
            "name": "local/trained-model", "revision": hashlib.sha256(made_from.encode()).hexdigest()[:40]})
        result = mteb.evaluate(model, [task], cache=mteb.ResultCache(cache), encode_kwargs={"batch_size": batch_size},
                               overwrite_strategy="only-missing")
        samples = task.metadata.n_samples or {}
        score = round(float(result.task_results[0].get_score()), 6)  # as mteb keeps it: the same after a resumed run
        rows.append({"task": task.metadata.name, "metric": task.metadata.main_score, "value": score,
                     "n": sum(samples.get(split, 0) for split in task.eval_splits)})
    return rows
