"""A receipt as one HTML page that needs nothing else: to be read, saved and printed."""

import base64
import hashlib

from app.receipts.text import Told
from app.templates import environment

_STYLE = """
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1c1d1f; background: #fff;
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin: 1.8rem 0 .4rem; }
p { margin: .4rem 0; overflow-wrap: anywhere; }
.quiet { color: #555a60; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid #dfe0dd;
  vertical-align: top; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .75rem; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
"""Nothing but the page's own style."""


def render(told: Told) -> str:
    """The page."""
    return environment().get_template("receipt.html").render(told=told, style=_STYLE)
