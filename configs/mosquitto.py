"""The file of the broker: `broker.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from configs.section import PathBesideFile, Section


class MosquittoConfig(Section):
    """One process: `tierwise broker run --config FILE`."""

    version: Literal[1]
    host: str = Field("127.0.0.1", description="address to listen on; without accounts, loopback only")
    identity: PathBesideFile | None = Field(
        None,
        description="the folder `broker` that `tierwise broker provision` made, `.` for that of this file; none: no "
        "accounts",
    )
    port: int = Field(1883, ge=0, le=65535, description="0: any free port")
    directory: Path = Field(Path("run/broker"), description="configuration, log and persistent store")
    max_packet_bytes: int = Field(300_000, ge=1024, le=268_435_455, description="images are at most 256 KiB")
    max_queued_messages: int = Field(1000, ge=1)
    max_queued_bytes: int = Field(50_000_000, ge=1)
    max_connections: int = Field(2000, ge=1, description="a thousand devices, and room for the silent")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
