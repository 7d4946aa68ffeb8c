"""Load a run's model."""

from pathlib import Path

from headstart.api.places import cache_folder
from headstart.backbones.catalogue import ONNX
from headstart.backbones.trunk import digest_tensors, file_digest
from headstart.classifier import Classifier, unreadable_tensors
from headstart.config import RuntimeChoice
from headstart.errors import DamagedRunError
from headstart.progress import Progress
from headstart.run.folder import RunFolder


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
    check_weights(RunFolder.open(Path(run)))
    return Classifier.load(run, cache=cache_folder(cache), runtime=runtime, progress=progress)


def check_weights(run: RunFolder) -> None:
    """Refuse weights that are not those that were measured.

    Raises:
        DamagedRunError: They can't be read, or their digest is not the one in `config.json`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        facts = run.read_config()["headstart"]
        is_onnx = facts["backbone"]["architecture"] == ONNX
        expected = {
            run.backbone_onnx if is_onnx else run.model_safetensors: facts["backbone"]["model_digest"]
        }
        if "digest" in facts["head"]:
            expected[run.head_safetensors] = facts["head"]["digest"]
    except (KeyError, TypeError):
        return  # whoever reads more of it tells what is missing
    for path, digest in expected.items():
        try:
            found = file_digest(path) if path == run.backbone_onnx else digest_tensors(load_file(path))
        except (SafetensorError, OSError) as error:
            raise unreadable_tensors(path, error) from error
        if found != digest:
            raise DamagedRunError(
                f"{path} is damaged or was changed: its tensors are not those that config.json describes. "
                "Train again, or restore it from a copy."
            )
