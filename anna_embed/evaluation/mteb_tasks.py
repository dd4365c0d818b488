"""mteb's own tasks on a SentenceTransformer folder, with the instructions it was trained with."""

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
        found[f"mteb {task.metadata.name}"] = locate(f"tasks: {task.metadata.name}", reference, "dataset", mirrors, False)
    return found


def run_tasks(names: list[str], model_path: str, model_name: str, digest: str, instructions: dict[str, str],
              located: dict[str, Located], cache: Path, batch_size: int, dtype: str) -> list[dict]:
    """Main scores of the tasks.

    Args:
        names (`list[str]`): mteb task names.
        model_path (`str`): A SentenceTransformer folder.
        model_name, digest (`str`): Name the model in mteb's cache; without them a second local model would be given
            the first one's scores.
        instructions (`dict[str, str]`): Instruction by task name; mteb's own where there is none.
        located (`dict[str, Located]`): From `locate_tasks`.
        cache (`Path`): mteb's result cache; finished tasks are not run again.
    """
    import mteb
    from mteb.models.instruct_wrapper import InstructSentenceTransformerModel

    model = InstructSentenceTransformerModel(
        model_path, None, instruction_template=query_prompt("{instruction}"), apply_instruction_to_passages=False,
        prompts_dict=instructions, model_kwargs={"dtype": dtype})
    meta = mteb.models.ModelMeta.create_empty(overwrites={"name": model_name, "revision": digest})
    model.mteb_model_meta = meta
    rows = []
    for task in get_tasks(names):
        at = located[f"mteb {task.metadata.name}"]
        if Path(at.path).exists():
            dataset = {**task.metadata.dataset, "path": str(Path(at.path).resolve())}
            task.metadata = task.metadata.model_copy(update={"dataset": dataset})
        result = mteb.evaluate(model, [task], cache=mteb.ResultCache(cache), encode_kwargs={"batch_size": batch_size},
                               overwrite_strategy="only-missing")
        scored = result.task_results[0]
        rows.append({"task": task.metadata.name, "metric": task.metadata.main_score, "value": scored.get_score(),
                     "n": sum(len(s) for s in scored.scores.values())})
    return rows
