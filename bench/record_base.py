"""What every record has, and what records share."""

import re
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Final = 1

Mode = Literal["end-to-end", "compute-only", "loader-only"]
"""What a throughput is of: real data, one cached batch, or the loader without the step."""


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def without_folders(text: str) -> str:
    """`text` with the last parts of its absolute paths only: records travel, and name no path."""
    return re.sub(r"(?<![\w.])/\S*/", "", text)


class RecordBase(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = SCHEMA_VERSION
    time: str = Field(default_factory=utc_now)
    """UTC, ISO 8601."""
