"""From a recipe's YAML and the command line to checked dataclasses, and from an error to one clear sentence."""

import difflib
import sys
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml


class RecipeError(ValueError):
    """Something the user can mend: the message names the key, the value and the remedy."""


def parse(dataclass_types, argv=None):
    """Reads `--config file.yaml` and the command line with trl's parser.

    Args:
        dataclass_types (`type` or `tuple[type]`): The dataclasses that own the keys, our own first.
        argv (`list[str]`, *optional*): The arguments; those of the process by default.

    Returns:
        `tuple`: one instance per dataclass, then `given`: the values of exactly those keys that the YAML or the
        command line states. They define the experiment, so they are what an artifact is keyed by.

    Raises:
        [`RecipeError`]: unknown key, wrong type, missing key or file.
    """
    from trl import TrlParser

    types = dataclass_types if isinstance(dataclass_types, tuple) else (dataclass_types,)
    argv = _join_repeated(list(sys.argv[1:] if argv is None else argv), "--mirror")
    source, stated = _stated(argv)
    known = {f.name: t for t in types for f in fields(t) if f.init}
    for key in stated:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"the keys are: {', '.join(_own_keys(types[0]))}."
            raise RecipeError(f"{source}: unknown key '{key}' (value {stated[key]!r}); {hint}")
    hints = {t: get_type_hints(t) for t in types}
    for key, value in stated.items():
        check_type(f"{source}: {key}", value, hints[known[key]][key], from_text=True)
    parsed = TrlParser(types).parse_args_and_config(argv)
    given = {key: getattr(p, key) for key in stated for p in parsed if key in {f.name for f in fields(p)}}
    return *parsed, given


def _join_repeated(argv, flag):
    """`--mirror a --mirror b` as `--mirror a b`, which is how argparse reads a list."""
    values, rest, i = [], [], 0
    while i < len(argv):
        if argv[i] == flag:
            i += 1
            while i < len(argv) and not argv[i].startswith("--"):
                values.append(argv[i])
                i += 1
        else:
            rest.append(argv[i])
            i += 1
    return rest + ([flag, *values] if values else [])


def _own_keys(stage):
    return sorted(f.name for f in fields(stage))


def _stated(argv):
    """The source's name and the keys that YAML and command line state (command-line values as text, or None)."""
    stated, source = {}, "command line"
    if "--config" in argv:
        source = argv[argv.index("--config") + 1] if argv[-1] != "--config" else ""
        if not Path(source).is_file():
            raise RecipeError(f"--config: there is no file '{source}'; give the path of a recipe's YAML file.")
        try:
            stated = yaml.load(Path(source).read_text(encoding="utf-8"), UniqueKeyLoader) or {}
        except yaml.YAMLError as error:
            raise RecipeError(f"{source}: not valid YAML ({' '.join(str(error).split())}); mend the file.") from None
        if not isinstance(stated, dict):
            raise RecipeError(f"{source}: holds a {type(stated).__name__}, not keys with values; write 'key: value'.")
    flags = [a[2:].split("=")[0].replace("-", "_") for a in argv if a.startswith("--") and a != "--config"]
    return source, {**stated, **{f: None for f in flags if f != "help"}}


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML lets the last of two equal keys win in silence; here that is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(k, deep=True) for k, _ in node.value]
        twice = [k for k in keys if keys.count(k) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(problem=f"the key '{twice[0]}' stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def check_type(name: str, value: Any, annotation: Any, from_text: bool = False) -> None:
    """Raises [`RecipeError`] unless `value` fits `annotation` (`from_text`: strings that argparse will convert pass)."""
    if value is None and from_text:
        return  # a command-line value: argparse itself converts and checks it
    if not _fits(value, annotation, from_text):
        wanted = getattr(annotation, "__name__", str(annotation)) if get_origin(annotation) is None else str(annotation)
        raise RecipeError(f"{name}: {value!r} is not of type {wanted.replace('typing.', '')}; write a value of that type.")


def _fits(value, annotation, from_text):
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, a, from_text) for a in args)
    if origin is Literal:
        return value in args
    if origin in (list, tuple):
        return isinstance(value, (list, tuple)) and all(_fits(v, args[0], False) for v in value if args)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(v, args[1], False) for v in value.values() if args)
    if annotation is type(None):
        return value is None
    if annotation is bool:
        return isinstance(value, bool)
    if annotation in (int, float) and from_text and isinstance(value, str):  # YAML 1.1 reads 5e-2 as a string
        return _converts(value, annotation)
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(annotation, type):
        return isinstance(value, annotation) or (issubclass(annotation, str) and isinstance(value, str))
    return True


def _converts(value, number):
    try:
        number(value)
    except ValueError:
        return False
    return True


@contextmanager
def one_sentence():
    """Ends the process with exit code 2 and one sentence when the user can mend what went wrong."""
    try:
        yield
    except RecipeError as error:
        _stop(error)
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            _stop(f"the disk is full while writing '{error.filename or 'an artifact'}'; free some space and run the same "
                  "command again: it continues where it stopped.")
        raise


def _stop(message):
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(2) from None
