"""What tests of pages share: a page in the browser, and runs of any numbers without a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.metrics.scores import score
from headstart.run.atomic import write_json, write_text
from headstart.run.folder import FORMAT_VERSION, RunFolder
from headstart.run.tables import Predictions, SplitTable, write_predictions, write_split

SCRIPT = "<script>alert(1)</script>"


class Opened:
    """A page in the browser, and all that it said and asked for."""

    def __init__(self, browser: Any, file: Path, width: int = 1280, scheme: str = "light") -> None:
        self.trouble: list[str] = []
        self.requests: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = context.new_page()
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("dialog", lambda dialog: self.trouble.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.absolute().as_uri(), wait_until="load")

    def check(self) -> None:
        """No console error, no request but the page's own, every image loaded, no horizontal scroll."""
        assert self.trouble == []
        others = [url for url in self.requests[1:] if not url.startswith("data:")]
        assert others == []
        broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
        assert self.page.evaluate(broken) == 0
        root = "document.documentElement"
        assert self.page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")

    def check_print(self) -> None:
        """On paper nobody can open what is folded, so nothing may be."""
        self.page.emulate_media(media="print", color_scheme="light")
        folded = "[...document.querySelectorAll('details > :last-child')]"
        seen = "one.checkVisibility({contentVisibilityProperty: true}) && one.offsetHeight > 0"
        assert self.page.evaluate(f"{folded}.length") > 0
        assert self.page.evaluate(f"{folded}.filter(one => !({seen})).map(one => one.innerText)") == []

    @property
    def text(self) -> str:
        """What a reader sees, on one line."""
        return " ".join(self.page.inner_text("body").split())


def check_page(browser: Any, file: Path) -> str:
    """See that a page is whole on a phone and a screen, light and dark; returns what a reader sees."""
    for width, scheme in ((375, "dark"), (1280, "light")):
        opened = Opened(browser, file, width, scheme)
        opened.check()
    return opened.text


def write_run(
    folder: Path,
    classes: Sequence[str],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    paths: Sequence[str] = (),
    *,
    headline: str = "test",
) -> Path:
    """A run folder whose N images got these probabilities `(N, K)`; only its network is missing.

    The training images are as many more, of the same classes, nowhere to be found.
    """
    folder.mkdir(parents=True)
    run, n = RunFolder(folder), len(labels)
    measured = list(paths) or [f"/photos/test/{k}.jpg" for k in range(n)]
    names = [classes[k] for k in labels]
    scores = score(probabilities, labels, classes, uncalibrated=probabilities)
    write_json(
        run.metrics_json, {"format_version": FORMAT_VERSION, "headline": headline, headline: scores.to_json()}
    )
    write_json(run.config_json, _config(classes, n))
    write_predictions(
        run.predictions_parquet, Predictions(measured, [headline] * n, names, probabilities, tuple(classes))
    )
    learnt = [f"/photos/train/{k}.jpg" for k in range(n)]
    table = SplitTable(
        paths=[*learnt, *measured],
        keys=[f"{k:016x}" for k in range(2 * n)],
        labels=[*names, *names],
        splits=["train"] * n + ["test"] * n,
        groups=np.arange(2 * n),
        folds=[None] * (2 * n),
    )
    write_split(run.split_parquet, table)
    write_json(run.environment_json, {"command": ["headstart", "train", "photos"], "cpu": "a processor"})
    write_text(run.history_jsonl, "")
    run.model_safetensors.touch()
    return folder


def _config(classes: Sequence[str], n_train: int) -> dict[str, Any]:
    facts = {
        "recipe": "probe",
        "settings": {"model": "lite0"},
        "backbone": {"name": "lite0", "licence": "apache-2.0"},
        "head": {"temperature": 1.0},
        "data": {"name": "photos", "n_train": n_train},
    }
    return {"format_version": FORMAT_VERSION, "label_names": list(classes), "headstart": facts}
