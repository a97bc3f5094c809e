"""The section `influxdb` of `orchestrator.yaml`: where the response log is shipped to, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from configs.section import Section


def _server(value: str) -> str:
    """A server's address without a secret in it."""
    parts = urlsplit(value)  # raises ValueError for what is no address at all
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as https://influx.example:8086")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a password: name a token_file or a token_environment")
    if parts.query or parts.fragment or not value.isprintable():
        raise ValueError("must end with the port or a path: the bucket has a key of its own")
    if parts.port == 0:
        raise ValueError("must have a port from 1 to 65535")
    return value.rstrip("/")


class InfluxSection(Section):
    """An InfluxDB, or what speaks its `/api/v2/write`. The token is never here, only where to find it."""

    url: Annotated[str, AfterValidator(_server)] = Field(
        max_length=500, description="scheme, host and port of the server, as in https://influx.example:8086"
    )
    bucket: str = Field(
        min_length=1, max_length=200, description="InfluxDB 1.8: database, or database/retention-policy"
    )
    org: str = Field("-", min_length=1, max_length=200, description="organisation; only InfluxDB 2 looks at it")
    token_file: Path | None = Field(None, description="file that holds the token, readable by the orchestrator alone")
    token_environment: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        max_length=200,
        description="environment variable that holds the token",
    )
    ca_file: Path | None = Field(None, description="certificates that vouch for the server; default: the system's")
    verify: bool = Field(True, description="check the server's certificate; false only to find out what is wrong")
    timeout_s: float = Field(10.0, gt=0, le=600, description="for one write to be answered")
    batch_rows: int = Field(5000, ge=1, le=50_000, description="most rows of one write")
    gzip: bool = Field(True, description="compress writes to a fifth of their bytes")
    backlog_rows: int = Field(
        2_000_000,
        ge=1,
        le=10**9,
        description="most rows of a table that wait; of more, the oldest are skipped and counted, and stay in SQLite",
    )
    poll_s: float = Field(1.0, ge=0.01, le=3600, description="how often new rows are looked for when none wait")
    retry_min_s: float = Field(1.0, ge=0.01, le=3600, description="pause after a first failure; doubled by each more")
    retry_max_s: float = Field(60.0, ge=0.01, le=3600, description="longest pause between attempts")

    @model_validator(mode="after")
    def _one_token_and_pauses_that_grow(self) -> InfluxSection:
        if self.token_file is not None and self.token_environment is not None:
            raise ValueError("token_file and token_environment exclude each other: name one")
        if self.retry_max_s < self.retry_min_s:
            raise ValueError(f"retry_max_s ({self.retry_max_s:g}) is below retry_min_s ({self.retry_min_s:g})")
        return self

    @property
    def target(self) -> str:
        """What names the server and the place in it, in the log's books."""
        return f"{self.url} {self.org}/{self.bucket}"
