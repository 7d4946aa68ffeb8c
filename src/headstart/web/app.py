"""The application: which address answers what."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from headstart.config import ServeConfig
from headstart.web.answers import (
    Base64Images,
    Health,
    ModelFacts,
    Predictions,
    Refusal,
    describe_answer,
)
from headstart.web.docs import render_docs
from headstart.web.engine import Answer, Engine, QueueFullError
from headstart.web.guard import Guard
from headstart.web.measures import Measures
from headstart.web.refusals import RefusedError, busy
from headstart.web.uploads import FIELD, Upload, read_uploads

_LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "::1"}

_TITLE = "Headstart"
_REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "additionalProperties": False,
                "properties": {
                    FIELD: {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
                },
            }
        },
        "application/json": {"schema": {"$ref": "#/components/schemas/Base64Images"}},
    },
}
_REFUSALS = {
    400: "The request is malformed, or names another host.",
    401: "The token is missing or wrong.",
    403: "A page of another site asked.",
    408: "The request came too slowly.",
    413: "Too many bytes or images.",
    415: "Neither a form nor JSON.",
    422: "No image in it can be read, or a setting is out of its range.",
    429: "Too much is waiting; Retry-After says when to come again.",
    503: "The server is ending.",
    504: "The answer took too long.",
}


def make_app(engine: Engine, config: ServeConfig, *, loopback: bool, is_ready: Callable[[], bool]) -> FastAPI:
    """Make the application around an engine, which it closes at its end.

    Args:
        engine: What answers.
        config: What is allowed.
        loopback: Whether it listens on this machine's own address only; then it answers to its names alone.
        is_ready: False once the server is ending.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(engine.close)

    app = FastAPI(
        title=_TITLE,
        version="1",
        summary="Images in, calibrated class probabilities out.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    measures = Measures(engine)
    _add_errors(app)
    _add_model(app, engine, config, measures)
    _add_state(app, measures, is_ready)
    _add_pages(app)
    _describe(app)
    app.add_middleware(
        Guard,
        hosts=_LOOPBACK_HOSTS | {config.host.lower()} if loopback else None,
        token=config.token,
        max_bytes=int(config.max_upload_mb * 1e6),
        timeout_s=config.timeout_s,
    )
    app.add_middleware(measures.middleware)
    return app


def _add_model(app: FastAPI, engine: Engine, config: ServeConfig, measures: Measures) -> None:
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": Refusal, "description": text} for status, text in _REFUSALS.items()
    }

    @app.post(
        "/v1/predict",
        response_model=Predictions,
        responses=responses,
        openapi_extra={"requestBody": _REQUEST_BODY},
        summary="Predict images",
        tags=["model"],
    )
    async def predict(
        request: Request,
        top: Annotated[int, Query(ge=1, le=1000, description="Classes to list an image.")] = 5,
        map_: Annotated[bool, Query(alias="map", description="Also tell where the model looked.")] = False,
    ) -> Predictions:
        """Predict one image or many, sent as the files `images` of a form, or in base64 within JSON.

        An image that can't be read has its `error` said among the answers; if none can, the status is 422.
        """
        uploads = await read_uploads(request, config.max_images)
        answers = await _answer(engine, uploads, map_, config.timeout_s)
        measures.count(answers)
        if all(answer.probabilities is None for answer in answers):
            named = "; ".join(
                f"{u.name or 'an image'}: {a.error}" for u, a in zip(uploads, answers, strict=True)
            )
            raise RefusedError(422, "unreadable", f"No image can be read. {named}")
        described = [
            describe_answer(upload.name, answer, top=top, unknown_below=config.unknown_below)
            for upload, answer in zip(uploads, answers, strict=True)
        ]
        return Predictions(model=answers[0].model.name, predictions=described)

    @app.get("/v1/model", responses={401: responses[401]}, summary="What is served", tags=["model"])
    async def model() -> ModelFacts:
        """Classes, preprocessing, measured quality and the model card."""
        served = engine.model
        trunk = served.classifier.trunk
        return ModelFacts(
            name=served.name,
            classes=list(served.classifier.classes),
            architecture=trunk.architecture,
            runtime=served.classifier.runtime.name,
            preprocessing=asdict(trunk.preprocessing),
            maps=served.maps is not None,
            metrics=served.metrics,
            card=served.card,
        )


async def _answer(engine: Engine, uploads: list[Upload], with_map: bool, timeout_s: float) -> list[Answer]:
    """Have the engine answer all pictures of a request, of one model.

    Raises:
        RefusedError: There is no room, or it takes too long.
    """
    pictures = [upload.data for upload in uploads]
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                futures = engine.submit(pictures, with_map=with_map)
                answers = await asyncio.gather(*map(asyncio.wrap_future, futures))
                if len({id(answer.model) for answer in answers}) == 1:
                    return answers  # else the model was exchanged in between: ask again
    except QueueFullError as error:
        raise busy(error.retry_after_s) from error
    except TimeoutError as error:
        raise RefusedError(504, "timed_out", f"There was no answer within {timeout_s:g} s.") from error


def _add_state(app: FastAPI, measures: Measures, is_ready: Callable[[], bool]) -> None:
    @app.get("/healthz", summary="Whether the server lives", tags=["state"])
    async def healthz() -> Health:
        """Answers as long as the process does."""
        return Health(status="ok")

    @app.get(
        "/readyz", summary="Whether to send requests", tags=["state"], responses={503: {"model": Refusal}}
    )
    async def readyz() -> Health:
        """200 while requests are taken, 503 when the server is ending."""
        if not is_ready():
            raise RefusedError(503, "ending", "The server is ending; ask another.")
        return Health(status="ready")

    @app.get(
        "/metrics",
        summary="Counts and durations",
        tags=["state"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, 401: {"model": Refusal}},
    )
    async def metrics() -> Response:
        """In Prometheus' text format."""
        return Response(measures.text(), media_type=measures.media_type)


def _add_pages(app: FastAPI) -> None:
    """The page, its script and style, and the description of the API; all from memory."""
    kinds = {
        "index.html": "text/html; charset=utf-8",
        "page.js": "text/javascript; charset=utf-8",
        "page.css": "text/css; charset=utf-8",
        "icon.svg": "image/svg+xml",
    }
    folder = files("headstart.web") / "page"
    for name, kind in kinds.items():
        content = (folder / name).read_bytes()

        async def page(content: bytes = content, kind: str = kind) -> Response:
            return Response(content, media_type=kind)

        address = "/" if name == "index.html" else f"/{name}"
        app.add_api_route(address, page, include_in_schema=False, methods=["GET", "HEAD"])
    docs = asyncio.Lock()
    rendered: list[str] = []

    async def describe() -> HTMLResponse:
        async with docs:
            if not rendered:
                rendered.append(render_docs(app.openapi()))
        return HTMLResponse(rendered[0])

    app.add_api_route("/docs", describe, include_in_schema=False)


def _describe(app: FastAPI) -> None:
    """Add to the description what FastAPI can't know: the JSON body that is read by hand."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = make()
            body = Base64Images.model_json_schema(ref_template="#/components/schemas/{model}")
            schema["components"]["schemas"] |= body.pop("$defs") | {"Base64Images": body}
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _add_errors(app: FastAPI) -> None:
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        return error.response()

    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        words = {404: "There is nothing at this address; see /docs.", 405: "Not by this method; see /docs."}
        message = words.get(error.status_code, str(error.detail))
        code = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "refused")
        return RefusedError(error.status_code, code, message, error.headers).response()

    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        return RefusedError(422, "bad_setting", problems).response()

    async def bug(_: Request, __: Exception) -> JSONResponse:
        return RefusedError(500, "internal", "The server failed at this; its log says why.").response()

    app.add_exception_handler(RefusedError, refused)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, http_error)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, bug)
