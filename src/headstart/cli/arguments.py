"""How a command's words become values, and what is said where they can't."""

import difflib
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

import cyclopts
from cyclopts.exceptions import CoercionError, CycloptsError, MissingArgumentError, UnusedCliTokensError

_KINDS = {int: "a whole number", float: "a number", bool: "no value"}


def convert(type_: Any, tokens: Sequence[cyclopts.Token]) -> Any:
    """Convert as cyclopts does, but never round 2.5 to a whole number.

    Raises:
        CoercionError: The words are none of this type's.
    """
    if int in (type_, *get_args(type_)) and len(tokens) == 1:
        if tokens[0].value in _choices(type_):
            return tokens[0].value
        try:
            return int(tokens[0].value)
        except ValueError:
            raise CoercionError(token=tokens[0], target_type=type_) from None
    return cyclopts.convert(type_, tokens)


def describe_mistake(error: CycloptsError) -> str:
    """One line that names the flag, the value got and what was expected."""
    command = " ".join(error.command_chain or ())
    text = _describe(error, command)
    return f"{text} See `{' '.join(['headstart', command]).strip()} --help`."


def _describe(error: CycloptsError, command: str) -> str:
    if isinstance(error, CoercionError) and error.token is not None and error.target_type is not None:
        value, name = error.token.value, error.token.keyword
        name = name or (error.argument.name.lstrip("-").upper() if error.argument else "a word")
        return f"{name} takes {_expected(error.target_type, value)}"
    if isinstance(error, UnusedCliTokensError):
        return f"{command} takes no further words: {', '.join(map(repr, error.unused_tokens or ()))}."
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        given = name in (error.root_input_tokens or ())
        return f"{name} needs a value." if given else f"{command} needs {name.lstrip('-').upper()}."
    error.verbose = False
    return " ".join(str(error).split())


def _expected(type_: Any, value: str) -> str:
    """`a number, not 'x'.`, with the nearest of several choices."""
    choices = _choices(type_)
    if choices and int in get_args(type_):
        return f"a whole number or {' or '.join(choices)}, not {value!r}."
    if choices:
        near = difflib.get_close_matches(value, choices, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"one of {', '.join(choices)}, not {value!r}.{hint}"
    kind = next((_KINDS[one] for one in (type_, *get_args(type_)) if one in _KINDS), "something else")
    return f"{kind}, not {value!r}."


def _choices(type_: Any) -> list[str]:
    """The words that a type takes, where it names them."""
    types = [one for one in (type_, *get_args(type_)) if get_origin(one) is Literal]
    return [str(choice) for one in types for choice in get_args(one)]
