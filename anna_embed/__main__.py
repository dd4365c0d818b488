"""What the package knows, on the command line.

    python -m anna_embed sources            the table of known sources
    python -m anna_embed sources SQuAD      all of one: instruction, columns, MTEB tasks it covers, traps
    python -m anna_embed encode --model M --input texts.jsonl --output vectors.npy --prompt_name query
    python -m anna_embed search --model M --corpus docs.jsonl --query "what is a fjord"    the nearest texts
    python -m anna_embed table2             the report's Table 2, recomputed, and which of its claims hold
    python -m anna_embed compare artifacts/name/results     tasks of MTEB(eng, v2) beside the public models' scores
    python -m anna_embed scores artifacts/quickstart/results --output scores.json     runs side by side
    python -m anna_embed record artifacts/quickstart/adapter --output training.json       a run of training in one file
    python -m anna_embed near_duplicates artifacts/quickstart/pairs     training texts that repeat evaluation texts
    python -m anna_embed submission artifacts/mistral_7b_clean --name me/anna --revision COMMIT --output submission
"""

import argparse

from anna_embed.model.commands import add_commands
from anna_embed.parsing import one_sentence


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m anna_embed", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="command")
    sources = commands.add_parser("sources", help="the table of known sources, or all that it says of some")
    sources.add_argument("names", nargs="*", metavar="task", help="show these in full")
    sources.set_defaults(run=show_sources)
    table2 = commands.add_parser("table2", help="the report's Table 2, recomputed, and which of its claims hold")
    table2.add_argument("--results", metavar="FOLDER", help="also count these models: a clone of mteb's results")
    table2.set_defaults(run=show_table2)
    compare = commands.add_parser("compare", help="scores on MTEB(eng, v2) beside those of public models")
    compare.add_argument("results", nargs="+", metavar="FOLDER", help="a results artifact, or a folder of mteb's")
    compare.set_defaults(run=show_comparison)
    scores = commands.add_parser("scores", help="the results of several runs side by side, and as one JSON file")
    scores.add_argument("results", nargs="+", metavar="FOLDER", help="a results artifact")
    scores.add_argument("--output", metavar="FILE", help="also write them as JSON, with how each was made")
    scores.set_defaults(run=show_scores)
    record = commands.add_parser("record", help="a run of training in one JSON file: keys, hashes, versions, curve")
    record.add_argument("adapter", metavar="FOLDER", help="an adapter that recipes.train made")
    record.add_argument("--output", metavar="FILE", required=True, help="where it is written")
    record.set_defaults(run=write_record)
    audit = commands.add_parser("near_duplicates", help="training texts that nearly repeat evaluation texts")
    audit.add_argument("sources", nargs="+", metavar="SOURCE", help="a pairs artifact, or any dataset's folder or id")
    audit.add_argument("--mirror", nargs="+", action="extend", default=[], metavar="FOLDER", help="read from here")
    audit.add_argument("--tasks", nargs="+", default=[], metavar="TASK", help="mteb tasks; the panel's by default")
    audit.add_argument("--benchmark", help="all tasks of a benchmark of mteb's, for example 'MTEB(eng, v2)'")
    audit.add_argument("--documents", action="store_true", help="also the documents of retrieval tasks")
    audit.add_argument("--output", metavar="FILE", help="also write the table as JSON, with examples")
    audit.set_defaults(run=show_near_duplicates)
    submission = commands.add_parser("submission", help="the two parts of an entry on mteb's leaderboard")
    submission.add_argument("artifacts", metavar="FOLDER", help="the run: holds model, results and .cache/mteb")
    for key, text in (("name", "the model's Hub id"), ("revision", "its commit on the Hub, 40 digits"),
                      ("output", "a new folder")):
        submission.add_argument(f"--{key}", required=True, help=text)
    submission.add_argument("--licence", help="of the model, for example apache-2.0")
    submission.add_argument("--release_date", metavar="YYYY-MM-DD", help="of the model")
    submission.set_defaults(run=make_submission)
    add_commands(commands)
    arguments = parser.parse_args(argv)
    arguments.run(arguments)


def show_sources(arguments: argparse.Namespace) -> None:
    from anna_embed.data.tasks import show_source, show_table

    print("\n\n".join(map(show_source, arguments.names)) if arguments.names else show_table())


def show_table2(arguments: argparse.Namespace) -> None:
    from anna_embed.evaluation.compare import others_in
    from anna_embed.evaluation.table2 import show

    print(show(others_in(arguments.results) if arguments.results else None))


def show_comparison(arguments: argparse.Namespace) -> None:
    from anna_embed.evaluation.compare import show

    print(show(arguments.results))


def show_scores(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from anna_embed.evaluation.show import as_text
    from anna_embed.evaluation.side_by_side import side_by_side

    found = side_by_side(arguments.results)
    print(as_text(found["scores"]).strip())
    if arguments.output:
        _write_json(Path(arguments.output), found)


def write_record(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from anna_embed.evaluation.record import training_record

    _write_json(Path(arguments.output), training_record(arguments.adapter))
    print(f"record: made {arguments.output}")


def show_near_duplicates(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from anna_embed.fetch import go_offline
    from anna_embed.located import locate, with_splits

    if arguments.mirror:
        go_offline()

    from anna_embed.data.near_duplicates import EvaluationTexts, overlaps, show
    from anna_embed.data.training_texts import evaluation_texts, training_texts
    from anna_embed.evaluation.panel import locate_parts, parts_of, test_sets

    named = arguments.tasks or arguments.benchmark
    parts = parts_of(arguments.tasks, arguments.benchmark, panel=not named, dev_panel=False)
    sources = [with_splits("sources", locate("sources", name, "dataset", arguments.mirror))
               for name in arguments.sources]
    found, tested = {}, set()
    for part, at in locate_parts(parts, arguments.mirror, arguments.tasks, arguments.benchmark).items():
        for test_set in test_sets(part):
            found |= evaluation_texts(part.name, at, test_set, arguments.documents)
            tested.add((at.digest, test_set.get("config"), test_set["split"]))
    evaluation, rows = EvaluationTexts(found), []
    for at in sources:
        for name, texts in training_texts(at).items():
            config, _, split = name.removeprefix(f"{at.reference} ").rpartition("/")
            if tested & {(at.digest, config, split), (at.digest, None, split)}:
                continue  # a test split given as a source: it is what it is
            table, read = overlaps(name, texts, evaluation)
            rows += [overlap.as_row() | {"training_texts": read} for overlap in table]
            print(f"near_duplicates: {name}: {read:,} texts read", flush=True)
    print(f"\n{show(rows)}")
    if arguments.output:
        _write_json(Path(arguments.output), rows)


def _write_json(file, content):
    import json

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def make_submission(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from anna_embed.evaluation.submission import write_submission

    given = {key: value for key, value in vars(arguments).items() if key != "run"}
    left_out = write_submission(**given | {"output": Path(arguments.output)})
    print(f"submission: made {arguments.output}", *(f"submission: left out {line}" for line in left_out), sep="\n")


if __name__ == "__main__":
    with one_sentence():
        main()
