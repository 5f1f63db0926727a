"""How a method's constants are declared, and the one place where a caller's are checked."""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from engine.errors import InvalidSpec


class MethodSettings(BaseModel):
    """A method's constants with their defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def parse(cls, given: Mapping[str, JsonValue]) -> Self:
        """The defaults with a caller's changes; `InvalidSpec` for a wrong name or value."""
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            first = error.errors()[0]
            name = first["loc"][0] if first["loc"] else "settings"
            if first["type"] == "extra_forbidden":
                known = ", ".join(cls.model_fields)
                raise InvalidSpec(f"unknown setting {name!r}; the settings are: {known}") from error
            raise InvalidSpec(
                f"setting {name!r} cannot be {first['input']!r}: {first['msg']}"
            ) from error
