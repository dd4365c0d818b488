"""Whether a value from YAML, or a word of the command line, is of the type that a dataclass's field asks for."""

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

TRUTHS = ("true", "false", "yes", "no", "t", "f", "y", "n", "1", "0")  # what transformers' parser takes for a bool


def wrong_type(name: str, value: Any, annotation: Any) -> str:
    """The sentence for a value that does not fit."""
    wanted = str(annotation) if get_origin(annotation) else getattr(annotation, "__name__", str(annotation))
    wanted = wanted.replace("typing.", "")
    return f"{name}: {value!r} is not of type {wanted}; write a value of that type."


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value is of the type; a `str` does for an enum whose members are strings."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, a) for a in args)
    if origin is Literal:
        return value in args
    if origin in (list, tuple):
        return isinstance(value, (list, tuple)) and all(fits(v, args[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(v, args[1]) for v in value.values())
    if annotation is type(None):
        return value is None
    if annotation in (int, float):
        return isinstance(value, (int, annotation)) and not isinstance(value, bool)
    if isinstance(annotation, type):
        return isinstance(value, annotation) or (issubclass(annotation, str) and isinstance(value, str))
    return True  # what only the dataclass itself can judge


def fits_yaml(value: Any, annotation: Any) -> bool:
    """Whether a YAML file's value is of the type. YAML 1.1 reads 5e-2 as a string; the parser makes a number of it."""
    return fits(value, annotation) or (isinstance(value, str) and _fits_number(value, annotation))


def fits_text(value: Any, annotation: Any) -> bool:
    """Whether argparse will find a word of the command line to be of that type."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if value == "null" and type(None) in options:
        return True
    if not isinstance(value, str) or not set(options) <= {int, float, bool, type(None)}:
        return value is None or get_origin(annotation) is not Literal or value in map(str, get_args(annotation))
    return _fits_number(value, annotation) or (bool in options and value.lower() in TRUTHS)


def _fits_number(text, annotation):
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for number in (int, float):
        try:
            if number in options:
                return number(text) is not None
        except ValueError:
            continue
    return False
