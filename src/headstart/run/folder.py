"""The run folder: what it is called, which files it holds, and how one is built and opened."""

import contextlib
import difflib
import errno
import glob
import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from headstart.errors import DamagedRunError, RunError, RunNotFoundError
from headstart.run.atomic import converting_errors, storage_error, sync_file, sync_folder
from headstart.run.lock import Lock, hold, is_left_behind

FORMAT_VERSION = 1
"""Of `config.json` and `metrics.json`; raised when an older Headstart could no longer read them rightly."""

MAX_NAME_CHARS = 60
_MAX_NAME_BYTES = 180  # file systems allow 255; numbers and temporary endings come on top
_NEARBY_RUNS = 3
_AGAIN = "Train again, or restore it from a copy."

_PARTIAL = re.compile(r"\.(.+)\.partial-\d+(?:-\d+)?")
_RESERVED_ON_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run; the only input of reports, exports and servers."""

    path: Path

    @property
    def config_json(self) -> Path:
        """The resolved settings, in the form of which plain timm makes the model."""
        return self.path / "config.json"

    @property
    def model_safetensors(self) -> Path:
        """The weights, under timm's parameter names."""
        return self.path / "model.safetensors"

    @property
    def backbone_onnx(self) -> Path:
        """The frozen network of a run that has no timm model: an ONNX file, its sidecar beside it."""
        return self.path / "backbone.onnx"

    @property
    def head_safetensors(self) -> Path:
        """The layers of a head that is more than one linear layer; the model then ends in features."""
        return self.path / "head.safetensors"

    @property
    def metrics_json(self) -> Path:
        """One object of scores per split."""
        return self.path / "metrics.json"

    @property
    def history_jsonl(self) -> Path:
        """One event of the training a line."""
        return self.path / "history.jsonl"

    @property
    def results_csv(self) -> Path:
        """One epoch a row, where the backbone was trained."""
        return self.path / "results.csv"

    @property
    def predictions_parquet(self) -> Path:
        """One row an image, with its probabilities."""
        return self.path / "predictions.parquet"

    @property
    def split_parquet(self) -> Path:
        """One row an image, with its split and fold."""
        return self.path / "split.parquet"

    @property
    def environment_json(self) -> Path:
        """The machine, the versions and the command."""
        return self.path / "environment.json"

    @property
    def readme(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @property
    def confusion_png(self) -> Path:
        """The confusion matrix, drawn."""
        return self.path / "confusion.png"

    @property
    def report_html(self) -> Path:
        """The page that shows all of it, with its pictures inside."""
        return self.path / "report.html"

    @property
    def curve_json(self) -> Path:
        """Accuracy against the number of images, where it was asked for."""
        return self.path / "curve.json"

    @property
    def curve_png(self) -> Path:
        """The same, drawn."""
        return self.path / "curve.png"

    @property
    def shift_json(self) -> Path:
        """What darker, blurrier or smaller pictures do to the accuracy, where it was asked for."""
        return self.path / "shift.json"

    @property
    def shift_png(self) -> Path:
        """The same as curves."""
        return self.path / "shift.png"

    @property
    def shift_html(self) -> Path:
        """The same as a page."""
        return self.path / "shift.html"

    @property
    def explanations(self) -> Path:
        """A folder of maps of where the model looked, and `explain.json`, where they were asked for."""
        return self.path / "explain"

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Return the run at `path` after a check that its model is there.

        Raises:
            RunNotFoundError: It is no run; the message names what is missing and runs nearby.
        """
        run = cls(Path(path))
        if is_run(run.path):
            return run
        raise RunNotFoundError(f"{_why_no_run(run)} {_suggestion(run.path)}")

    def read_config(self) -> dict[str, Any]:
        """Read `config.json`.

        Raises:
            DamagedRunError: It is missing, truncated, not Headstart's, or from a newer version.
        """
        config = _read_json_object(self.config_json)
        if "format_version" not in config:
            raise DamagedRunError(
                f"{self.config_json} lacks 'format_version', so Headstart did not write it. "
                "Give a folder made by `headstart train`."
            )
        check_version(config, self.config_json)
        names = config.get("label_names", [])
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise DamagedRunError(f"{self.config_json} has label_names that are no list of names. {_AGAIN}")
        if len(set(names)) < len(names):
            raise DamagedRunError(f"{self.config_json} has a name twice among its label_names. {_AGAIN}")
        return config

    def read_metrics(self) -> dict[str, Any]:
        """Read `metrics.json`.

        Raises:
            DamagedRunError: It is missing, truncated, or from a newer version.
        """
        metrics = _read_json_object(self.metrics_json)
        check_version(metrics, self.metrics_json)
        return metrics


def new_run_folder(base: Path, name: str) -> Path:
    """Make an empty folder `base/name-1`, or the next number that is free, and return it.

    Making the folder is what reserves the name, so two processes never get the same one.

    Raises:
        StorageError: It can't be made there.
    """
    clean = safe_name(name)
    return _make_first_free(base / f"{clean}-{number}" for number in count(1))


def named_run_folder(out: Path) -> Path:
    """Make the folder the user asked for, or `out-2`, `out-3`, ... if it holds something; return it.

    Raises:
        StorageError: It can't be made there.
    """
    if _is_empty_folder(out):
        return out
    if out.name in {"", ".."}:  # a number can't be added to "."
        out = out.resolve()
    return _make_first_free(chain([out], (out.with_name(f"{out.name}-{number}") for number in count(2))))


def check_writable(out: Path) -> None:
    """Find out at once, not after the work, whether a run can be written at `out`.

    What killed processes left there of runs half saved is removed first.

    Raises:
        RunError: `out` is the current folder, or one above it, and holds something.
        StorageError: The disk is read-only or forbidden, a file stands in the way, or the name is too long.
    """
    for folder in (out, out.absolute().parent):
        remove_half_saved(folder)
    is_empty = _is_empty_folder(out)
    if not is_empty and Path.cwd().is_relative_to(os.path.realpath(out)):
        raise RunError(
            f"{out} is where you are, or above it, and holds something; a run never overwrites. "
            f"Name a folder that is to be made, such as {out / 'run'}."
        )
    try:
        place = out if is_empty else out.absolute().parent
        while not os.path.lexists(place):
            place = place.parent
        _check_name_fits(place, out.absolute().name)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise storage_error(error, out) from error


def _check_name_fits(place: Path, name: str) -> None:
    """Look for a file under the longest name that a run has while it is saved; too long, it is an OSError."""
    pid = os.getpid()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        (place / f"..{name}.better-{pid}.partial-{pid}").lstat()


def remove_half_saved(folder: Path) -> None:
    """Remove the hidden folders in which killed processes were saving runs, and the names they reserved."""
    with contextlib.suppress(OSError):  # what can't be listed or removed stays
        for partial in folder.iterdir():
            found = _PARTIAL.fullmatch(partial.name)
            if found and is_left_behind(partial):
                shutil.rmtree(partial, ignore_errors=True)
                if not any(folder.glob(f"{glob.escape(f'.{found[1]}.partial-')}*")):
                    _remove_reservation(folder / found[1])


def run_name(data: str, recipe: str) -> str:
    """Return the name of runs of `recipe` on the data folder `data`: `photos-probe`.

    Args:
        data: The folder's name, not its path; cut so that the whole fits.
        recipe: Such as `probe`.
    """
    return f"{safe_name(data, MAX_NAME_CHARS - len(recipe) - 1)}-{recipe}"


def safe_name(text: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """Return `text` as a file name every system takes: letters and digits of any script, `.`, `_`, `-`.

    Anything else becomes one `-`. Nothing that is left gives "run".
    """
    normal = unicodedata.normalize("NFC", text)
    kept = "".join(c if _belongs_in_names(c) else "-" for c in normal)
    name = re.sub(r"-{2,}", "-", kept).strip("-. ")[:max_chars]
    name = name.encode("utf-8")[:_MAX_NAME_BYTES].decode("utf-8", errors="ignore").strip("-. ")
    if not name:
        return "run"
    return f"run-{name}" if _RESERVED_ON_WINDOWS.match(name) else name


@contextmanager
def building_run(final: Path) -> Iterator[RunFolder]:
    """Give a hidden folder beside `final` to build a run in; it becomes `final` when all is written.

    `final` is reserved as an empty folder meanwhile, so its name never shows half a run. On failure,
    Ctrl-C included, both folders are removed; after a kill, `remove_half_saved` does that. If another
    process saved a run at `final` meanwhile, this one is kept under the next free number. A folder that
    can't be replaced (a mounted disk, the current folder) is filled from a hidden folder inside it,
    `config.json` last.

    Raises:
        RunError: `final` holds something already, or came to hold something meanwhile.
        StorageError: The disk is full, read-only or forbidden.
    """
    with converting_errors(final):
        final.mkdir(parents=True, exist_ok=True)
        if not _is_empty_folder(final):
            raise RunError(
                f"{final} is not empty, and a run never overwrites. Give another folder, or empty it."
            )
        inside = _must_stay(final)
        partial = _make_partial(final, inside)
        lock = Lock(None)
        try:
            lock = hold(partial)
            yield RunFolder(partial)
            _sync_tree(partial)
            lock.release()
            if inside:
                _fill(final, partial)
            else:
                _replace(final, partial)
        except BaseException:
            lock.release()
            shutil.rmtree(partial, ignore_errors=True)
            if not inside:
                _remove_reservation(final)
            raise


def _must_stay(final: Path) -> bool:
    """Say whether the folder `final` is one that another can't take the place of."""
    return final.is_mount() or final.resolve() == Path.cwd() or not os.access(final.resolve().parent, os.W_OK)


def _make_partial(final: Path, inside: bool) -> Path:
    stem = f".{final.name}.partial-{os.getpid()}"
    parent = final if inside else final.parent
    try:
        return _make_first_free(parent / name for name in chain([stem], (f"{stem}-{n}" for n in count(2))))
    except BaseException:
        if not inside:
            _remove_reservation(final)
        raise


def _replace(final: Path, partial: Path) -> None:
    """Rename `partial` to `final`, which is an empty folder unless another process has filled it."""
    try:
        if os.name == "nt":
            final.rmdir()  # POSIX replaces an empty folder in one step; Windows does not
        partial.rename(final)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        kept = named_run_folder(final)
        _replace(kept, partial)
        raise RunError(
            f"Another run was saved at {final} meanwhile. This one is whole, and saved at {kept}."
        ) from error
    sync_folder(final.parent)


def _fill(final: Path, partial: Path) -> None:
    """Move the files up into `final`; the one without which it is no run goes last."""
    last = RunFolder(partial).config_json.name
    for path in sorted(partial.iterdir(), key=lambda path: path.name == last):
        path.rename(final / path.name)
    partial.rmdir()
    sync_folder(final)


def _sync_tree(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            sync_file(file)
    sync_folder(folder)


def _remove_reservation(final: Path) -> None:
    with contextlib.suppress(OSError):  # not empty: it isn't ours
        final.rmdir()


def _make_first_free(candidates: Iterable[Path]) -> Path:
    for path in candidates:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, path) from error
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise storage_error(error, path) from error
        return path
    raise AssertionError("the candidates never end")


def _is_empty_folder(path: Path) -> bool:
    with converting_errors(path):
        return path.is_dir() and not any(path.iterdir())


def _belongs_in_names(character: str) -> bool:
    # letters, marks (without which Hindi or Thai can't be read) and numbers of any script
    return unicodedata.category(character)[0] in "LMN" or character in "._-"


def is_run(path: Path) -> bool:
    """Whether a whole run is at this place."""
    run = RunFolder(path)
    try:
        return run.config_json.is_file() and (run.model_safetensors.is_file() or run.backbone_onnx.is_file())
    except OSError:
        return False


def _why_no_run(run: RunFolder) -> str:
    try:
        if run.path.is_file():
            return f"{run.path} is a file; a run is a folder."
        if not run.path.is_dir():
            return f"There is no run at {run.path}."
        missing = [file.name for file in (run.config_json, run.model_safetensors) if not file.is_file()]
    except OSError as error:  # the name is too long, or a folder forbids looking
        return f"There is no run to be read at {run.path} ({error.strerror})."
    return f"{run.path} is not a run: it lacks {' and '.join(missing)}."


def _suggestion(path: Path) -> str:
    for folder in (path, path.parent, Path("runs")):
        if runs := _runs_in(folder):
            near = difflib.get_close_matches(path.name, [run.name for run in runs], n=_NEARBY_RUNS)
            shown = [folder / name for name in near] or runs[:_NEARBY_RUNS]
            kind = "Like it" if near else "The latest"
            return f"{kind} in {folder}: {', '.join(str(run) for run in shown)}."
    return "Make one with `headstart train PHOTOS`."


def _runs_in(folder: Path) -> list[Path]:
    """List the runs in a folder, the latest first."""
    with contextlib.suppress(OSError):
        runs = [path for path in folder.iterdir() if not path.name.startswith(".") and is_run(path)]
        return sorted(runs, key=lambda run: (-RunFolder(run).config_json.stat().st_mtime, run.name))
    return []


def _read_json_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DamagedRunError(f"{path} is missing from the run. {_AGAIN}") from error
    except OSError as error:
        raise DamagedRunError(f"{path} can't be read: {error.strerror or error}. {_AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedRunError(f"{path} is damaged, perhaps truncated ({error}). {_AGAIN}") from error
    if not isinstance(value, dict):
        raise DamagedRunError(f"{path} must hold a JSON object, not {type(value).__name__}. {_AGAIN}")
    return value


def check_version(content: dict[str, Any], path: Path) -> None:
    """Refuse what a newer Headstart wrote, or none.

    Raises:
        DamagedRunError: The format's version is not one that is read here.
    """
    version = content.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int) or version < 1:
        raise DamagedRunError(
            f"{path} has format_version {version!r}, which no Headstart wrote. Train again."
        )
    if version > FORMAT_VERSION:
        raise DamagedRunError(
            f"{path} has format version {version}, and this Headstart reads up to {FORMAT_VERSION}. "
            "Upgrade it: pip install --upgrade headstart."
        )
