"""A run as the server holds it: all in memory, so that its folder may change or vanish."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.api.load import load
from headstart.backbones.maps import FeatureMaps, open_feature_maps
from headstart.classifier import Classifier
from headstart.config import RuntimeChoice
from headstart.errors import DamagedRunError
from headstart.run.folder import RunFolder


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """One run, ready to answer.

    Attributes:
        name: The run folder's.
        classifier: What predicts.
        metrics: `metrics.json`, without the names of anybody's files.
        card: The model card, Markdown.
        maps: What it sees in each place of a picture; None where that is not exact.
    """

    name: str
    classifier: Classifier
    metrics: dict[str, Any]
    card: str
    maps: FeatureMaps | None

    @classmethod
    def open(cls, run: Path, *, cache: Path | None, runtime: RuntimeChoice = "auto") -> "ServedModel":
        """Load a run.

        Raises:
            RunError: There is no run, or it is damaged.
            RuntimeUnavailableError: The runtime asked for doesn't work here.
        """
        place = Path(os.path.realpath(run))  # what a link points to now, though it may be turned meanwhile
        classifier = load(place, cache=cache, runtime=runtime)
        folder = RunFolder(place)
        metrics = {name: value for name, value in folder.read_metrics().items() if name != "data"}
        try:
            card = folder.readme.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise DamagedRunError(
                f"{folder.readme} can't be read: {error}. Restore it from a copy."
            ) from error
        maps = None if classifier.hidden else open_feature_maps(classifier.trunk)
        return cls(place.name, classifier, metrics, card, maps)

    def evidence(self, view: NDArray[np.uint8], class_index: int) -> NDArray[np.float64] | None:
        """What each place of a view adds to a class's logit, above the mean of all classes, `(h, w)`.

        The mean over places, plus the bias, is the logit above the mean logit: exact, as the features are
        a mean and the head is linear. None where they are not.
        """
        if self.maps is None:
            return None
        weight = self.classifier.weight
        direction = (weight[class_index] - weight.mean(axis=0)).astype(np.float64)
        evidence: NDArray[np.float64] = np.tensordot(direction, self.maps.of(view).astype(np.float64), axes=1)
        return evidence
