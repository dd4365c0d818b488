"""From a recipe's YAML and the command line to checked dataclasses, and from an error to one clear sentence."""

import argparse
import difflib
import os
import sys
import warnings
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from anna_embed.full_disk import is_of_a_full_disk, sentence

from anna_embed.hub_tokens import KEYS, masked
from anna_embed.value_types import fits, fits_text, fits_yaml, wrong_type


BAD_PLACE = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)  # of a path that somebody gave


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
    argv = _split_equals(sys.argv[1:] if argv is None else argv)
    for key in (key for owner in types for key, hint in get_type_hints(owner).items() if _is_list(hint)):
        argv = _join_repeated(argv, f"--{key}")
    if not {"-h", "--help"}.isdisjoint(argv):
        _print_help(TrlParser(types, usage="keys in a YAML file (--config FILE), or as --key value"))
        raise SystemExit(0)
    file, stated, typed = *_read_config(argv), _typed(argv)
    _check(file, stated, types, fits_yaml)
    _check("command line", typed, types, fits_text)
    for key, hint in get_type_hints(types[0]).items():
        if key in typed and "dict" in str(hint):
            raise RecipeError(f"command line: {key}: a mapping cannot be given here; write it in the YAML file.")
    for key in (f for t in types for f in fields(t) if f.init and f.name not in {**stated, **typed}):
        if key.default is MISSING and key.default_factory is MISSING:
            raise RecipeError(f"{file or 'command line'}: the key '{key.name}' is missing: write {key.name}: <value> "
                              f"({key.metadata.get('help', 'required').rstrip('.')}).")
    off = {key: None for key, value in typed.items() if value == "null" and key in get_type_hints(types[0])}
    for key in off:  # argparse cannot read null: the key is taken out here, and set to None afterwards
        at = next(n for n, word in enumerate(argv) if word.replace("-", "_") == f"__{key}")
        argv = argv[:at] + argv[at + 2:]
    try:
        parsed = TrlParser(types).parse_args_and_config(argv)
    except RecipeError:
        raise
    except ValueError as error:  # what transformers' own dataclasses refuse
        if "arguments are not used" in str(error):
            words = str(error).rpartition(": ")[2]
            raise RecipeError(f"command line: {words} belongs to no key; write --key value, or take it out.") from None
        raise RecipeError(f"{file or 'command line'}: {in_short(error)}; mend that key.") from None
    parsed = (replace(parsed[0], **off), *parsed[1:]) if off else parsed
    hints = {name: hint for t in types for name, hint in get_type_hints(t).items()}
    given = {key: _as_stated(getattr(p, key), hints[key])
             for key in {**stated, **typed} for p in parsed if key in {f.name for f in fields(p)}}
    return *parsed, given


def _as_stated(value, hint):
    """`1` as `1.0` where a float is asked for: what a YAML file and the command line state alike has one key."""
    options = get_args(hint) or (hint,)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_whole and float in options and int not in options else value


def _print_help(parser):
    """What the script says of itself, and all keys; of several processes one says it."""
    for action in parser._actions:
        if action.option_strings[0].startswith("--no_"):  # transformers' second names of keys; here --key false
            action.help = argparse.SUPPRESS
    if os.environ.get("RANK", "0") == "0":
        print(sys.modules["__main__"].__doc__)
        parser.print_help()


def _check(source, values, types, fit):
    hints = {name: hint for t in types for name, hint in get_type_hints(t).items()}
    known = {f.name for t in types for f in fields(t) if f.init}
    own = ", ".join(sorted(f.name for f in fields(types[0])))
    for key, value in values.items():
        if key not in known and str(key).lower() in KEYS:
            raise RecipeError(f"{source}: unknown key '{key}'; log in with `hf auth login`, or set HF_TOKEN.")
        if key not in known:
            raise RecipeError(masked(f"{source}: unknown key '{key}' (value {value!r}){_meant(key, known)}; the "
                                     f"stage's own keys are {own}."))
        if not fit(value, hints[key]):
            raise RecipeError(masked(wrong_type(f"{source}: {key}", value, hints[key])))


def _meant(key, known):
    close = difflib.get_close_matches(str(key), known, n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _split_equals(argv):
    """`--key=value` as `--key value`."""
    return [part for a in argv for part in (a.split("=", 1) if a.startswith("--") and "=" in a else [a])]


def _is_list(hint):
    """Whether argparse reads several values: not where one string will do, as for `report_to`."""
    parts = (hint,) if get_origin(hint) is list else get_args(hint)
    return str not in parts and any(get_origin(part) is list for part in parts)


def _join_repeated(argv, flag):
    """`--mirror a --mirror b` as `--mirror a b`, which is how argparse reads a list."""
    values, rest, collecting = [], [], False
    for a in argv:
        collecting = a == flag or (collecting and not a.startswith("--"))
        if a != flag:
            (values if collecting else rest).append(a)
    if flag in argv and not values:
        raise RecipeError(f"command line: {flag} has no value; give one, or leave {flag} out.")
    return rest + ([flag, *values] if values else [])


def _typed(argv):
    """The keys of the command line with their values as text: a string, a list of them, or None for a bare flag."""
    typed, key = {}, None
    for a in argv:
        if a.startswith("--"):
            key = a[2:].replace("-", "_")
            typed[key] = []
        elif key:
            typed[key].append(a)
    return {k: v[0] if len(v) == 1 else v or None for k, v in typed.items() if k != "config"}


def _read_config(argv):
    """The path of the YAML file and the keys that it states."""
    if "--config" not in argv:
        return None, {}
    path = argv[argv.index("--config") + 1] if argv[-1] != "--config" else ""
    if not Path(path).is_file():
        raise RecipeError(f"--config: there is no file '{path}'; give the path of a recipe's YAML file.")
    try:
        stated = yaml.load(Path(path).read_text(encoding="utf-8-sig"), UniqueKeyLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend the file.") from None
    if not isinstance(stated, dict):
        found = "nothing" if stated is None else f"a {type(stated).__name__}"
        raise RecipeError(f"{path}: holds {found}, not keys with values; write 'key: value', one a line.")
    return path, stated


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML lets the last of two equal keys win in silence; here that is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(k, deep=True) for k, _ in node.value if not k.tag.endswith(":merge")]
        twice = [k for k in keys if keys.count(k) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(problem=f"the key '{twice[0]}' stands twice",
                                                    problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def check_type(name: str, value: Any, annotation: Any) -> None:
    """Raises [`RecipeError`] unless `value` fits `annotation`."""
    if not fits(value, annotation):
        raise RecipeError(wrong_type(name, value, annotation))


def in_short(error: BaseException, length: int = 300) -> str:
    """What a library says is wrong, on one line and without the full stop, to stand within a sentence of ours."""
    return " ".join((str(error).strip() or type(error).__name__).split())[:length].rstrip(".")


@contextmanager
def one_sentence():
    """Ends the process with exit code 2 and one sentence when the user can mend what went wrong.

    What libraries have to say below errors is left out: load reports and deprecations are no news to the user.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", "Could not find a config file in")  # peft, at each checkpoint beside a mirror
    try:
        yield
    except RecipeError as error:
        _stop(error)
    except BrokenPipeError:  # the reader of our output, for example `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if is_of_a_full_disk(error):
            _stop(sentence(error), on_any_process=True)
        if isinstance(error, BAD_PLACE) and error.filename:
            _stop(f"cannot use '{error.filename}' ({error.strerror}); name another file or folder.")
        raise


def _stop(message, on_any_process=False):
    if on_any_process or os.environ.get("RANK", "0") == "0":  # what all have found one of them says
        print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(2) from None
