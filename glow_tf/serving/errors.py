"""Errors to report to clients. Without Starlette, as the process that parses JSON imports it."""

from collections.abc import Mapping

# Headers of error responses, by status. Clients that keep sending are disconnected.
HEADERS: Mapping[int, Mapping[str, str]] = {
    408: {"Connection": "close"},
    413: {"Connection": "close"},
    503: {"Retry-After": "1"},
}


class RequestError(ValueError):
    """An error to report to the client.

    Args:
      message: message for the client.
      status: HTTP status.
    """

    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.status = status
