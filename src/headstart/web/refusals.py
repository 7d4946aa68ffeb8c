"""Errors as clients see them: a status, a code for programs, a sentence for people, and no internals."""

from collections.abc import Mapping

from starlette.responses import JSONResponse


class RefusedError(Exception):
    """A request that is not answered as it was meant to be."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def response(self) -> JSONResponse:
        """`{"error": {"code", "message"}}`."""
        return JSONResponse(
            {"error": {"code": self.code, "message": self.message}}, self.status, dict(self.headers or {})
        )


def too_large(limit_bytes: int) -> RefusedError:
    """More bytes than are taken."""
    message = f"The request is larger than {limit_bytes / 1e6:g} MB. Send fewer or smaller images."
    return RefusedError(413, "too_large", message, {"Connection": "close"})


def too_slow(seconds: float) -> RefusedError:
    """The request did not arrive in time."""
    message = f"The request did not arrive within {seconds:g} s."
    return RefusedError(408, "too_slow", message, {"Connection": "close"})


def busy(retry_after_s: int) -> RefusedError:
    """Too much is waiting already."""
    message = f"Too many images are waiting. Come again in {retry_after_s} s."
    return RefusedError(429, "busy", message, {"Retry-After": str(retry_after_s)})
