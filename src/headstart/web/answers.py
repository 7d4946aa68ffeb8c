"""What clients are answered: the shapes of all JSON, from which the OpenAPI description is made."""

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from headstart.web.engine import Answer

UNKNOWN = "unknown"


class ClassProbability(BaseModel):
    """One class and how probable it is."""

    name: str = Field(description="The class.")
    probability: float = Field(
        ge=0, le=1, description="Calibrated: of answers given with 0.9, about 90 % are right."
    )


class EvidenceMap(BaseModel):
    """What each place of the square that the network saw adds to the best class's logit."""

    class_name: str = Field(description="The class it speaks for.")
    rows: list[list[float]] = Field(
        description="From top to bottom; above 0 speaks for the class, below 0 against."
    )


class PredictedImage(BaseModel):
    """What the model says of one image."""

    name: str = Field(description="As the client named it.")
    predicted: str | None = Field(
        description='The most probable class, or "unknown"; null for an unreadable image.'
    )
    confidence: float | None = Field(description="Its probability.")
    top: list[ClassProbability] = Field(description="The most probable classes, best first.")
    map: EvidenceMap | None = Field(description="Where the model looked, if that was asked for and is exact.")
    error: str | None = Field(description="Why the image can't be read.")


class Predictions(BaseModel):
    """One answer an image, in the order sent."""

    model: str = Field(description="The run that answered.")
    predictions: list[PredictedImage]


class Base64Image(BaseModel):
    """An image within JSON."""

    model_config = ConfigDict(extra="forbid")

    data: str = Field(description="The bytes of the file, in base64.", json_schema_extra={"format": "byte"})
    name: str = Field("", max_length=255, description="Comes back with the answer; no file is looked for.")


class Base64Images(BaseModel):
    """Images within JSON."""

    model_config = ConfigDict(extra="forbid")

    images: list[Base64Image] = Field(min_length=1)


class ModelFacts(BaseModel):
    """What is served."""

    name: str = Field(description="The run folder's name.")
    classes: list[str] = Field(description="In the order of training.")
    architecture: str
    runtime: str = Field(description="What runs the backbone here.")
    preprocessing: dict[str, Any] = Field(description="Done by the server; send pictures as they are.")
    maps: bool = Field(description="Whether it can show where it looked.")
    metrics: dict[str, Any] = Field(description="What was measured when it was trained.")
    card: str = Field(description="The model card, Markdown.")


class Health(BaseModel):
    """Whether the server lives, or is ready."""

    status: str


class Problem(BaseModel):
    """What went wrong."""

    code: str = Field(description="For programs; stable.")
    message: str = Field(description="For people.")


class Refusal(BaseModel):
    """Every answer that is an error."""

    error: Problem


def describe_answer(name: str, answer: Answer, *, top: int, unknown_below: float) -> PredictedImage:
    """Put an engine's answer into words; `unknown` below the threshold."""
    p, classes = answer.probabilities, answer.model.classifier.classes
    if p is None:
        return PredictedImage(
            name=name, predicted=None, confidence=None, top=[], map=None, error=answer.error
        )
    best = np.argsort(-p, kind="stable")[:top]
    confidence = float(p[best[0]])
    shown = None
    if answer.evidence is not None:
        shown = EvidenceMap(class_name=classes[best[0]], rows=answer.evidence.tolist())
    return PredictedImage(
        name=name,
        predicted=classes[best[0]] if confidence >= unknown_below else UNKNOWN,
        confidence=confidence,
        top=[ClassProbability(name=classes[k], probability=float(p[k])) for k in best],
        map=shown,
        error=None,
    )
