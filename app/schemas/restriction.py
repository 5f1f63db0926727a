"""What must not be processed for now, as callers see it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class RestrictedInstance(BaseModel):
    """An instance that must not teach these tasks for now (GDPR Art. 18)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "img-0007",
                    "tasks": ["garments", "parts"],
                    "requests": ["req_0199a1b2c3d4e5f60718293a4b5c6d7e"],
                    "since": "2026-03-04T09:00:00Z",
                }
            ]
        }
    )

    id: str
    tasks: list[str]
    requests: list[str]
    """Which ask for it to be forgotten and are not done."""
    since: datetime
    """When the first of them was received."""
