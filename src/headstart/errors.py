"""Every exception that Headstart raises on purpose.

A `HeadstartError` is the user's to mend: its message says what happened, where,
what was found and what to do. The command line prints it and exits with 2;
anything else is a bug and keeps its traceback.

    HeadstartError
    ├── ConfigError                 a setting is out of its range, or two contradict each other
    ├── DataError
    │   ├── DatasetNotFoundError    no such folder or file, or it can't be read
    │   ├── ManifestError           a CSV or Parquet manifest lacks columns, paths or labels
    │   ├── TooFewImagesError       no images, one class only, a class with one image
    │   ├── UnreadableImageError    one file can't be decoded
    │   ├── UnreadableImagesError   `strict`, and some files can't be read
    │   └── UnknownClassError       the data has classes that the model lacks
    ├── BackboneError
    │   ├── UnknownBackboneError    no such name; the nearest ones are suggested
    │   ├── WeightsNotFoundError    the weights are not on this machine and can't be fetched
    │   ├── WeightsMismatchError    the weights are not those of this architecture
    │   ├── FreezeRuleError         a freezing rule is malformed, covers nothing or misses a parameter
    │   └── RuntimeUnavailableError the runtime asked for does not work, or disagrees with torch fp32
    ├── TrainingError
    │   ├── DivergedError           a loss is not finite
    │   ├── OutOfMemoryError        not even two images at a time fit into memory
    │   ├── ResumeError             nothing to resume, or it was trained otherwise
    │   └── ProcessError            processes that train together disagree, or one is lost
    ├── RunError
    │   ├── RunNotFoundError        no run folder there
    │   └── DamagedRunError         a run's file is missing, truncated or from a newer version
    ├── ServeError                  the server can't listen where it was asked to
    ├── OutputTakenError            a folder of predictions answers something else, or is being written
    └── StorageError                the disk is full, read-only or forbidden
"""


class HeadstartError(Exception):
    """The user can mend this; the message says how."""


class ConfigError(HeadstartError):
    """A setting is out of its range, or two settings contradict each other."""


class DataError(HeadstartError):
    """The images or their labels don't make a data set."""


class DatasetNotFoundError(DataError):
    """There is no such folder or file, or it can't be read."""


class ManifestError(DataError):
    """A manifest lacks columns, paths or labels; the message lists every problem found."""


class TooFewImagesError(DataError):
    """There are no images, there is only one class, or a class is too small to learn."""


class UnreadableImageError(DataError):
    """One file can't be decoded as an image."""


class UnreadableImagesError(DataError):
    """Some files can't be read, and `strict` forbids going on without them."""


class UnknownClassError(DataError):
    """The data has classes that the model was not trained on."""


class BackboneError(HeadstartError):
    """The pretrained network can't be had or used."""


class UnknownBackboneError(BackboneError):
    """No backbone has this name."""


class WeightsNotFoundError(BackboneError):
    """The weights are not on this machine and can't be fetched."""


class WeightsMismatchError(BackboneError):
    """The weights don't fit the architecture."""


class FreezeRuleError(BackboneError):
    """A freezing rule is malformed, decides nothing, or leaves a parameter without one."""


class RuntimeUnavailableError(BackboneError):
    """The runtime asked for does not work here, or disagrees with torch fp32."""


class TrainingError(HeadstartError):
    """A training can't go on."""


class DivergedError(TrainingError):
    """A loss is not a finite number; the message names the step."""


class OutOfMemoryError(TrainingError):
    """Memory ran out, and smaller parts would not help."""


class ResumeError(TrainingError):
    """There is nothing to resume, or it was trained with other data or settings."""


class ProcessError(TrainingError):
    """Processes that train one network together disagree, or one of them was lost."""


class RunError(HeadstartError):
    """A run folder can't be used."""


class RunNotFoundError(RunError):
    """There is no run folder at this place."""


class DamagedRunError(RunError):
    """A file of the run is missing, damaged, or written by a newer version."""


class ServeError(HeadstartError):
    """The server can't listen where it was asked to."""


class OutputTakenError(HeadstartError):
    """A folder of predictions answers other images, model or settings, or another process writes it."""


class StorageError(HeadstartError):
    """Something can't be written: the disk is full, read-only, or not ours."""
