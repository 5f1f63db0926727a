"""What every answer about a version says once another one has taken its place.

`Deprecation` (RFC 9745), `Sunset` (RFC 8594), and the successor in `Link` (RFC 5829).
"""

from datetime import datetime
from email.utils import format_datetime

from sqlalchemy.orm import Session

from app.schemas.versions import purge_time, version_path
from app.services.versions import is_named, successor
from app.tables import Model, Version


def retired_headers(session: Session, model: Model, version: Version) -> dict[str, str]:
    """The headers; none for a version that is not superseded nor about to be purged."""
    headers: dict[str, str] = {}
    after = successor(session, model, version)
    if after is not None:
        since = version.retired_at or after.created_at
        headers["Deprecation"] = f"@{int(since.timestamp())}"
        headers["Link"] = f'<{version_path(model, after)}>; rel="successor-version"'
    ends = purge_time(version, model)
    if ends is not None and not is_named(session, version):
        headers["Sunset"] = _http_date(ends)
    return headers


def _http_date(at: datetime) -> str:
    return format_datetime(at.replace(microsecond=0), usegmt=True)
