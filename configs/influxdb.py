"""The section `influxdb` of `orchestrator.yaml`: where the response log is shipped to, and how."""

from __future__ import annotations

from enum import StrEnum
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


class InfluxApi(StrEnum):
    """How rows are written: InfluxDB 1.x has `/write`, 2 and 3 have `/api/v2/write`."""

    AUTO = "auto"
    V1 = "v1"
    V2 = "v2"


class InfluxSection(Section):
    """An InfluxDB, or what takes its writes. Secrets are never here, only where to find them."""

    url: Annotated[str, AfterValidator(_server)] = Field(
        max_length=500, description="scheme, host and port of the server, as in https://influx.example:8086"
    )
    api: InfluxApi = Field(
        InfluxApi.AUTO, description="v1 for InfluxDB 1.x, v2 for later ones; auto: what the server's /ping says it is"
    )
    bucket: str | None = Field(
        None, min_length=1, max_length=200, description="InfluxDB 2 and 3; of 1.x the database[/retention-policy]"
    )
    database: str | None = Field(
        None, min_length=1, max_length=200, description="InfluxDB 1.x, instead of bucket: database[/retention-policy]"
    )
    org: str = Field("-", min_length=1, max_length=200, description="organisation; only InfluxDB 2 looks at it")
    token_file: Path | None = Field(None, description="file that holds the token, readable by the orchestrator alone")
    token_environment: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        max_length=200,
        description="environment variable that holds the token",
    )
    username: str | None = Field(
        None, min_length=1, max_length=200, pattern=r"^[^:\s]+$", description="InfluxDB 1.x with auth-enabled"
    )
    password_file: Path | None = Field(None, description="file that holds the password of username")
    password_environment: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        max_length=200,
        description="environment variable that holds the password of username",
    )
    ca_file: Path | None = Field(None, description="certificates that vouch for the server; default: the system's")
    verify: bool = Field(True, description="check the server's certificate; false only to find out what is wrong")
    timeout_s: float = Field(
        10.0, gt=0, le=600, description="for one write: connect, send, and the whole answer together"
    )
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
    def _one_place_one_secret_and_pauses_that_grow(self) -> InfluxSection:
        if (self.bucket is None) == (self.database is None):
            raise ValueError("name a bucket (InfluxDB 2 and 3), or a database (InfluxDB 1.x)")
        if self.token_file is not None and self.token_environment is not None:
            raise ValueError("token_file and token_environment exclude each other: name one")
        if self.password_file is not None and self.password_environment is not None:
            raise ValueError("password_file and password_environment exclude each other: name one")
        if (self.username is None) != (self.password_file is None and self.password_environment is None):
            raise ValueError("username needs a password_file or a password_environment, and they need a username")
        if self.username is not None and (self.token_file is not None or self.token_environment is not None):
            raise ValueError("username and token exclude each other: name a username (1.x) or a token")
        if self.username is not None and self.api is InfluxApi.V2:
            raise ValueError("username is for InfluxDB 1.x: api v2 needs a token")
        if self.retry_max_s < self.retry_min_s:
            raise ValueError(f"retry_max_s ({self.retry_max_s:g}) is below retry_min_s ({self.retry_min_s:g})")
        return self

    @property
    def place(self) -> str:
        """The bucket, or the database with its retention policy."""
        return self.bucket or self.database or ""

    @property
    def database_and_policy(self) -> tuple[str, str]:
        """As InfluxDB 1.x and InfluxQL name the place; '' for the default retention policy."""
        database, _, policy = self.place.partition("/")
        return database, policy

    @property
    def target(self) -> str:
        """What names the server and the place in it, in the log's books."""
        return f"{self.url} {self.org}/{self.place}"
