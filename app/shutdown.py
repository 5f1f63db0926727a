"""Whether the server was told to stop, for answers that would otherwise last for ever.

A graceful server waits for open answers before it tells the application anything, so a stream has
to ask. Uvicorn's signal handler is a method of its server, which is how the server is found.
"""

import signal


def stopping() -> bool:
    """True from the moment at which Uvicorn received SIGTERM or SIGINT."""
    handler = signal.getsignal(signal.SIGTERM)
    return bool(getattr(getattr(handler, "__self__", None), "should_exit", False))
