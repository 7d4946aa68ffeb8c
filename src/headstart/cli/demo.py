"""`headstart demo`."""

from pathlib import Path

from headstart.api.demo import write_digits
from headstart.api.load import load
from headstart.api.train import train
from headstart.cli.console import make_progress
from headstart.cli.options import Cache, Quiet
from headstart.cli.train import print_result
from headstart.config import TrainConfig


def demo(folder: Path = Path("headstart-demo"), *, cache: Cache = None, quiet: Quiet = False) -> None:
    """Show the main job offline: 1,797 handwritten digits become a measured classifier.

    Parameters
    ----------
    folder
        Where the digits and the run go.
    """
    progress = make_progress(quiet=quiet)
    with progress.stage(f"Writing scikit-learn's digits to {folder / 'digits'}", None):
        digits = write_digits(folder)
    result = train(digits, TrainConfig(), out=folder / "runs" / "digits", cache=cache, progress=progress)
    print_result(result)
    some = [sample.file.path for sample in result.dataset.samples[::200]]
    predicted = load(result.run, cache=cache).predict(some)
    for path, name in zip(some, predicted, strict=True):
        print(f"{Path(path).relative_to(digits.absolute())} is a {name}")  # noqa: T201
