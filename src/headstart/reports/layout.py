"""The templates of the pages."""

from functools import cache
from importlib import resources
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment


def template(name: str) -> Any:
    """A template by its file's name."""
    return _environment().get_template(name)


@cache
def _environment() -> "Environment":
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder = resources.files("headstart.reports").joinpath("templates")
    sources = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.is_file()}
    environment = Environment(
        loader=DictLoader(sources),
        autoescape=True,  # every name and path on the page is text, whatever it holds
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, model_name=model_name)
    environment.globals.update(css=Markup(sources["page.css"]))  # noqa: S704 - our own file
    return environment


def model_name(name: str) -> str:
    """A backbone's name, of `ARCHITECTURE@FILE` without the folders: a page need not tell where files lie."""
    architecture, at, file = name.partition("@")
    return f"{architecture}{at}{PurePath(file).name}" if at else name


def _percent(share: float | None, digits: int = 1) -> str:
    return "n/a" if share is None else f"{100 * share:.{digits}f} %"
