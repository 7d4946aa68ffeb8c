"""A folder of predictions in parts, each written whole; a second call goes on after those that are there.

Beside the parts lies `_progress.json`: what was asked, and of each part how many rows it has, a digest of
its bytes, and one of the names, sizes and times of the images it answers. A part is listed there once it is
in place.
"""

import contextlib
import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from headstart.api.rows import Row, Tally, write_rows
from headstart.config import RowFormat
from headstart.data.pictures import Picture
from headstart.errors import OutputTakenError
from headstart.progress import Advance
from headstart.run.atomic import converting_errors, write_json
from headstart.run.lock import LOCK_NAME, hold

PROGRESS_NAME = "_progress.json"  # pyarrow and Spark pass over names that begin so when they read a folder
PART_ROWS = 4096
_VERSION = 1
_MEND = "Name another folder with --out, or delete this one to start again."


@dataclass(frozen=True, slots=True)
class Asked:
    """What decides the rows of given images, and how they are written.

    Attributes:
        model: Its fingerprint.
        runtime: What ran it.
        top: Classes a row.
        unknown_below: Least probability of an answer.
        column: Of tables' images, where it was chosen.
        format: Of the parts.
        part_rows: Rows of all parts but the last.
    """

    model: str
    runtime: str
    top: int
    unknown_below: float
    column: str | None
    format: RowFormat
    part_rows: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is in place.

    Attributes:
        rows: Images it answers.
        unreadable: How many of them can't be read.
        first: Name of the first image.
        images: Digest of all names, sizes and times.
        digest: Of the file.
    """

    rows: int
    unreadable: int
    first: str
    images: str
    digest: str


@dataclass
class PartsFolder:
    """A folder of parts that this process alone writes.

    Attributes:
        path: The folder.
        asked: What its parts answer.
        parts: Those that are in place, in order.
        is_finished: Whether there are no more images.
    """

    path: Path
    asked: Asked
    parts: list[Part] = field(default_factory=list)
    is_finished: bool = False

    def skip_kept(self, pictures: Iterator[Picture], advance: Advance) -> None:
        """Take the images from `pictures` that parts in place answer.

        Raises:
            OutputTakenError: They are other images.
        """
        for number, part in enumerate(self.parts):
            signature = _Signature()
            for picture in islice(pictures, part.rows):
                signature.add(picture)
            if (signature.count, signature.hexdigest()) != (part.rows, part.images):
                now = f", now with {signature.first}" if signature.first != part.first else ""
                raise OutputTakenError(
                    f"{self._part(number)} answers other images than those named now, or they have changed: "
                    f"it begins with {part.first}{now}. {_MEND}"
                )
            advance(part.rows)
        is_closed = self.is_finished or (self.parts and self.parts[-1].rows < self.asked.part_rows)
        if is_closed and (more := next(pictures, None)) is not None:
            count = sum(part.rows for part in self.parts)
            raise OutputTakenError(
                f"{self.path} answers {count:,} images and is finished, but there are more now, such as "
                f"{more.name}. {_MEND}"
            )

    def write(
        self,
        pictures: Iterator[Picture],
        answer: Callable[[Iterable[Picture]], Iterator[Row]],
        advance: Advance,
    ) -> None:
        """Answer the images that are left, a part at a time.

        Raises:
            StorageError: A part can't be written; those before it stay.
        """
        signing = _Signing(pictures, self.asked.part_rows)
        rows = answer(signing)
        while (row := next(rows, None)) is not None:
            tally, path = Tally(), self._part(len(self.parts))
            part_of = chain([row], islice(rows, self.asked.part_rows - 1))
            write_rows(tally.count(part_of, advance), self.asked.format, self.asked.top, path)
            signature = signing.signatures.popleft()
            self.parts.append(
                Part(tally.rows, tally.unreadable, signature.first, signature.hexdigest(), _digest(path))
            )
            self._save()
        self.is_finished = True
        self._save()

    def _part(self, number: int) -> Path:
        return self.path / f"part-{number:05}.{self.asked.format}"

    def _save(self) -> None:
        listed = [asdict(part) for part in self.parts]
        state = {"version": _VERSION, "asked": asdict(self.asked), "finished": self.is_finished}
        write_json(self.path / PROGRESS_NAME, {**state, "parts": listed})

    def load(self) -> None:
        """Find the parts that are in place; from one on that is missing or was changed, they are made again.

        Raises:
            OutputTakenError: The folder holds something else, or answers of another model or other settings.
        """
        progress = self.path / PROGRESS_NAME
        if not progress.exists():
            if others := [path.name for path in self.path.iterdir() if not _is_own(path)]:
                raise OutputTakenError(
                    f"{self.path} holds files that are no predictions, such as {min(others)}. "
                    "Name a folder that is new or empty."
                )
            self._save()
            return
        asked, finished, parts = _read_progress(progress)
        self._compare(asked)
        intact = next(
            (n for n, part in enumerate(parts) if _digest(self._part(n)) != part.digest), len(parts)
        )
        self.parts, self.is_finished = parts[:intact], finished and intact == len(parts)
        for path in (*self.path.glob(".part-*.tmp"), *self.path.glob(f".{PROGRESS_NAME}.*.tmp")):
            path.unlink(missing_ok=True)  # of a process that was killed

    def _compare(self, asked: dict[str, Any]) -> None:
        now = asdict(self.asked)
        if differences := [name for name in now if asked.get(name) != now[name]]:
            listed = ", ".join(f"{name} was {asked.get(name)} and is {now[name]}" for name in differences)
            raise OutputTakenError(
                f"{self.path} holds predictions that were asked for otherwise: {listed}. {_MEND}"
            )


@contextlib.contextmanager
def open_parts(path: Path, asked: Asked) -> Iterator[PartsFolder]:
    """Make or find a folder of parts, and keep other processes from it meanwhile.

    Raises:
        OutputTakenError: It holds something else, or another process writes it.
        StorageError: It can't be made or written.
    """
    with converting_errors(path / PROGRESS_NAME):
        path.mkdir(parents=True, exist_ok=True)
        try:
            lock = hold(path)
        except BlockingIOError:
            raise OutputTakenError(
                f"Another process is writing {path}. Wait for it, or name another folder with --out."
            ) from None
    try:
        folder = PartsFolder(path, asked)
        folder.load()
        yield folder
    finally:
        lock.release()


def _read_progress(path: Path) -> tuple[dict[str, Any], bool, list[Part]]:
    """What was asked, whether it is finished, and the parts listed.

    Raises:
        OutputTakenError: The file is damaged or from another version.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        version, asked, finished = found["version"], dict(found["asked"]), bool(found["finished"])
        parts = [Part(**part) for part in found["parts"]]
    except (ValueError, KeyError, TypeError) as error:
        raise OutputTakenError(f"{path} is damaged ({error}). {_MEND}") from error
    if version != _VERSION:
        raise OutputTakenError(f"{path} is of version {version}, which this Headstart can't read. {_MEND}")
    return asked, finished, parts


class _Signature:
    """A digest of images' names, sizes and times."""

    def __init__(self) -> None:
        self.count, self.first = 0, ""
        self._hash = hashlib.sha256()

    def add(self, picture: Picture) -> None:
        self.first = self.first if self.count else _printable(picture.name)
        self.count += 1
        self._hash.update(f"{picture.name}\0{picture.stamp()}\n".encode("utf-8", "surrogatepass"))

    def hexdigest(self) -> str:
        return self._hash.hexdigest()[:32]


class _Signing:
    """Passes pictures on; a part's signature is there before its last picture has left."""

    def __init__(self, pictures: Iterable[Picture], part_rows: int) -> None:
        self.signatures: deque[_Signature] = deque()
        self._pictures = pictures
        self._part_rows = part_rows

    def __iter__(self) -> Iterator[Picture]:
        signature = _Signature()
        for picture in self._pictures:
            signature.add(picture)
            if signature.count == self._part_rows:
                self.signatures.append(signature)
                signature = _Signature()
            yield picture
        if signature.count:
            self.signatures.append(signature)


def _digest(path: Path) -> str:
    """Of a file's bytes; empty where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except FileNotFoundError:
        return ""


def _is_own(path: Path) -> bool:
    """Whether a file is one that a killed process may have left before anything was listed."""
    return path.name == LOCK_NAME or (path.name.startswith(f".{PROGRESS_NAME}.") and path.suffix == ".tmp")


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
