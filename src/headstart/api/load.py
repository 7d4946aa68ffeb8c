"""Load a run's model."""

from pathlib import Path

from headstart.api.places import cache_folder
from headstart.classifier import Classifier
from headstart.config import RuntimeChoice
from headstart.progress import Progress


def load(
    run: str | Path,
    *,
    cache: str | Path | None = None,
    runtime: RuntimeChoice = "auto",
    progress: Progress | None = None,
) -> Classifier:
    """Load the model of a run folder, ready to predict.

    Args:
        run: The run folder.
        cache: Where converted backbones are kept; default: the platform's cache.
        runtime: What runs the backbone; auto takes that of the training if this machine has it.
        progress: Told if the backbone must be converted again.

    Raises:
        RunError: There is no run, or it is damaged.
        RuntimeUnavailableError: The runtime asked for doesn't work here.
    """
    return Classifier.load(run, cache=cache_folder(cache), runtime=runtime, progress=progress)
