"""The pictures of a request: from a form or from JSON, held in memory and never written to disk."""

import base64
import binascii
from dataclasses import dataclass

from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from headstart.run.tables import valid_text
from headstart.web.answers import Base64Images
from headstart.web.refusals import RefusedError

FIELD = "images"
_MAX_NAME_CHARS = 255
_FEW_PROBLEMS = 3
_MANY_FILES = "Too many files"  # so starlette begins to say it


@dataclass(frozen=True, slots=True)
class Upload:
    """One picture as it came.

    Attributes:
        name: As the client calls it; only ever sent back.
        data: The bytes of the file.
    """

    name: str
    data: bytes


class _InMemoryParser(MultiPartParser):
    """Keeps files in memory, whose size the guard has limited."""

    spool_max_size = 2**31


async def read_uploads(request: Request, max_images: int) -> list[Upload]:
    """Read the pictures of a request.

    Raises:
        RefusedError: It holds none, too many, or something else.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            uploads = await _read_form(request, max_images)
        elif kind == "application/json":
            uploads = _read_json(await request.body())
        else:
            raise RefusedError(
                415, "unsupported_type", "Send multipart/form-data or application/json; /docs shows how."
            )
    except ClientDisconnect as error:
        raise RefusedError(400, "disconnected", "The request broke off.") from error
    if not uploads:
        raise RefusedError(422, "no_images", f"The request holds no images. Name the form field {FIELD!r}.")
    if len(uploads) > max_images:
        raise _too_many(max_images)
    return uploads


def _too_many(max_images: int) -> RefusedError:
    return RefusedError(413, "too_many_images", f"More than {max_images} images; send several requests.")


async def _read_form(request: Request, max_images: int) -> list[Upload]:
    parser = _InMemoryParser(request.headers, request.stream(), max_files=max_images, max_fields=0)
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeError, ValueError) as error:
        message = getattr(error, "message", None) or "it can't be read as multipart/form-data."
        if message.startswith(_MANY_FILES):
            raise _too_many(max_images) from error
        raise RefusedError(422, "bad_form", f"The form is damaged: {message}") from error
    uploads = []
    try:
        for field, value in form.multi_items():
            if field != FIELD or not isinstance(value, UploadFile):
                raise RefusedError(422, "bad_form", f"The form may hold files named {FIELD!r} only.")
            name = valid_text(value.filename or "")  # which the form may have in any encoding
            uploads.append(Upload(name[:_MAX_NAME_CHARS], await value.read()))
    finally:
        await form.close()
    return uploads


def _read_json(body: bytes) -> list[Upload]:
    try:
        images = Base64Images.model_validate_json(body).images
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the body'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)[:_FEW_PROBLEMS]
        )
        raise RefusedError(422, "bad_json", f"The JSON is not as described in /docs: {problems}") from error
    return [Upload(image.name, _decode(image.data, number)) for number, image in enumerate(images)]


def _decode(text: str, number: int) -> bytes:
    """Base64, with or without a `data:` address before it."""
    payload = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(422, "bad_base64", f"images.{number}.data is not base64.") from error
