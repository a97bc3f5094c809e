"""The section `influxdb`: no secret in it, no contradiction, and the shipped file shows its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from configs.influxdb import InfluxSection
from configs.orchestrator import OrchestratorConfig

SHIPPED = Path(__file__).parents[2] / "configs" / "orchestrator.yaml"
INSTEAD = {"database", "username", "password_file", "password_environment", "token_environment"}  # of other keys
LEAST: dict[str, Any] = {"url": "http://127.0.0.1:8086", "bucket": "b"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": "influx.example:8086"}, "must be an address such as https://influx.example:8086"),
        ({"url": "http://"}, "must be an address such as"),
        ({"url": "https://me:secret@influx.example"}, "must not hold a password: name a token_file"),
        ({"url": "https://influx.example?token=secret"}, "must end with the port or a path"),
        ({"url": "http://influx.example:99999"}, "Port out of range"),
        ({"token": "secret"}, "Extra inputs are not permitted"),
        ({"token_file": "a", "token_environment": "B"}, "exclude each other: name one"),
        ({"bucket": None}, "name a bucket .*, or a database"),
        ({"database": "d"}, "name a bucket .*, or a database"),
        ({"username": "u"}, "username needs a password_file or a password_environment"),
        ({"password_file": "p"}, "they need a username"),
        ({"username": "u", "password_file": "p", "password_environment": "P"}, "exclude each other: name one"),
        ({"username": "u", "password_file": "p", "token_file": "t"}, "username and token exclude each other"),
        ({"username": "u", "password_file": "p", "api": "v2"}, "api v2 needs a token"),
        ({"token_environment": "s3cret-t0ken=="}, "should match pattern"),
        ({"retry_min_s": 9.0, "retry_max_s": 2.0}, r"retry_max_s \(2\) is below retry_min_s \(9\)"),
        ({"batch_rows": 0}, "greater than or equal to 1"),
        ({"backlog_rows": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], says: str) -> None:
    """With what to write instead."""
    with pytest.raises(ValidationError, match=says):
        InfluxSection.model_validate(LEAST | changes)


def test_a_database_is_a_place_as_a_bucket_is() -> None:
    """A site that changes its YAML to the other key ships nothing twice; both may name a retention policy."""
    database = InfluxSection(url="http://127.0.0.1:8086", database="d/rp")

    assert ("d", "rp") == database.database_and_policy
    assert InfluxSection(url="http://127.0.0.1:8086", bucket="d/rp").target == database.target


def test_a_slash_at_the_end_of_the_address_makes_no_other_server() -> None:
    """The books are kept by server, organisation and bucket."""
    with_slash = InfluxSection.model_validate(LEAST | {"url": "http://127.0.0.1:8086/"})

    assert "http://127.0.0.1:8086 -/b" == with_slash.target == InfluxSection.model_validate(LEAST).target


def test_the_shipped_file_shows_the_section_with_its_defaults() -> None:
    """Without the # before it, it is valid, shows every key, and is what leaving a key out would give."""
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("# influxdb:"))
    end = lines.index("", start)
    shown = yaml.safe_load("\n".join(line.removeprefix("# ") for line in lines[start:end]))["influxdb"]

    section = OrchestratorConfig.model_validate({"version": 1, "site": "home", "influxdb": shown}).influxdb

    given = {"url", "bucket", "token_file", "ca_file"}
    least = {name: value for name, value in shown.items() if name in given}
    assert InfluxSection.model_validate(least) == section
    assert set(InfluxSection.model_fields) - INSTEAD == set(shown)
