"""One log line a happening, each with the id of the HTTP request that it belongs to."""

import logging
from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"


class _Mark(logging.Filter):
    """Puts `request_id` into every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mark the record; all pass."""
        record.request_id = REQUEST_ID.get()
        return True


def configure() -> None:
    """Send the service's own log to standard error, in place of the server's access log."""
    logger = logging.getLogger("app")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(_FORMAT))
        handler.addFilter(_Mark())
        logger.addHandler(handler)
    logging.getLogger("uvicorn.access").disabled = True
