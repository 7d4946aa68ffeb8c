"""Fields that take one of a few words: whoever calls from Python has no parser that checks them."""

from typing import Any, Literal, get_args, get_origin, get_type_hints


def choice_problems(config: Any) -> list[str]:
    """What is wrong with those fields of a dataclass instance that are annotated with a `Literal`."""
    problems = []
    for name, hint in get_type_hints(type(config)).items():
        words, kinds = _split(hint)
        value = getattr(config, name)
        if words and value not in words and not (kinds and isinstance(value, kinds)):
            flag = f"--{name.rstrip('_').replace('_', '-')}"
            problems.append(f"{flag} must be one of {', '.join(words)}, not {value}{_nearest(value, words)}")
    return problems


def _split(hint: Any) -> tuple[tuple[str, ...], tuple[type, ...]]:
    """The words that a hint names, and the types that will do in their place."""
    if get_origin(hint) is Literal:
        return get_args(hint), ()
    words: tuple[str, ...] = ()
    kinds: tuple[type, ...] = ()
    for part in get_args(hint):
        if get_origin(part) is Literal:
            words += get_args(part)
        elif isinstance(part, type):
            kinds += (part,)
    return words, kinds


def _nearest(value: object, words: tuple[str, ...]) -> str:
    import difflib  # milliseconds that --help doesn't need

    near = difflib.get_close_matches(str(value).lower(), words, n=1, cutoff=0.4)
    return f" (did you mean {near[0]}?)" if near else ""
