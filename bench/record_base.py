"""What every record has."""

from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Final = 1


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class RecordBase(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = SCHEMA_VERSION
    time: str = Field(default_factory=utc_now)
    """UTC, ISO 8601."""
