"""Finds the files under what a person named, reads each, and lets the rules of its kind judge it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from broker.errors import TierwiseError
from broker.identity.folder import DYNAMIC_SECURITY
from configs.loader import LARGEST_FILE_BYTES
from tierwise.doctor.account_rules import Accounts, PluginFile, account_rules
from tierwise.doctor.broker_rules import broker_rules
from tierwise.doctor.conf import parse
from tierwise.doctor.finding import Finding, Rule, Severity
from tierwise.doctor.key_rules import (
    CertificateFile,
    RevocationFile,
    SecretFile,
    certificate_rules,
    revocation_rules,
    secret_rules,
)
from tierwise.doctor.limit_rules import limit_rules
from tierwise.doctor.log_rules import end_of, log_rules
from tierwise.doctor.surroundings import Surroundings
from tierwise.doctor.yaml_rules import yaml_rules

SUFFIXES = (".log", ".conf", ".json", ".key", ".crt", ".pem", ".yaml", ".yml")
LARGEST_BYTES = 100_000_000  # the accounts of a hundred thousand nodes
ALL_RULES: tuple[Rule[Any], ...] = (
    *broker_rules.rules,
    *limit_rules.rules,
    *account_rules.rules,
    *secret_rules.rules,
    *certificate_rules.rules,
    *revocation_rules.rules,
    *yaml_rules.rules,
    *log_rules.rules,
)


@dataclass(frozen=True, slots=True)
class Examined:
    """How many files were looked at, and what was found."""

    files: int
    findings: list[Finding]


def examine(places: Sequence[Path], now: datetime) -> Examined:
    """Judge the files at `places`, and those in folders. Raises TierwiseError for what is not there."""
    files = files_at(places)
    settings = {path: content for path in files if (content := settings_in(path)) is not None}
    surroundings = Surroundings.of(files, settings, places)
    findings: list[Finding] = []
    for path in files:
        try:
            if path.is_dir():
                findings.append(_unreadable(path, "the folder is closed to this user"))
            elif path.suffix == ".log":
                findings += log_rules.judge(path, end_of(path))
            elif path.stat().st_size > LARGEST_BYTES:
                findings.append(_unreadable(path, f"larger than {LARGEST_BYTES // 1_000_000} MB"))
            else:
                findings += _judge(path, now)
        except (OSError, UnicodeDecodeError) as error:
            findings.append(_unreadable(path, str(error)))
        if path in settings:
            findings += yaml_rules.judge(path, surroundings.of_file(path))
    return Examined(len(files), findings)


def files_at(places: Sequence[Path]) -> list[Path]:
    """The files named, and those of a kind that rules know in the folders named. Raises TierwiseError."""
    return sorted(set(_files(places)))


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            closed: list[OSError] = []
            for folder, _, names in os.walk(place, onerror=closed.append):
                found = (Path(folder, name) for name in names)
                yield from (path for path in found if path.suffix in SUFFIXES and path.is_file())
            yield from (Path(error.filename) for error in closed)
        elif place.is_file():
            yield place
        else:
            raise TierwiseError(f"{place} is not there: name files of a site, or the folder that they are in")


def _judge(path: Path, now: datetime) -> Iterator[Finding]:
    if path.suffix == ".conf":
        conf = parse(path.read_text(encoding="utf-8"))
        yield from broker_rules.judge(path, conf)
        yield from limit_rules.judge(path, conf)
    elif path.suffix == ".key" or path.name == DYNAMIC_SECURITY:
        yield from secret_rules.judge(path, SecretFile(path.name, path.stat().st_mode, path.name == "ca.key"))
    if path.suffix == ".json":
        yield from _judge_accounts(path)
    elif path.suffix == ".crt":
        beside = None if path.name == "ca.crt" else _content(path.with_name("ca.crt"))
        key = _content(path.with_suffix(".key"))
        yield from certificate_rules.judge(path, CertificateFile(path.read_bytes(), now, key, beside))
    elif path.suffix == ".pem" and path.name.startswith("crl"):
        yield from revocation_rules.judge(path, RevocationFile(path.read_bytes(), now))


def _judge_accounts(path: Path) -> Iterator[Finding]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        if path.name == DYNAMIC_SECURITY:
            yield _unreadable(path, f"not JSON: {error}")
        return
    if not isinstance(content, dict) or "defaultACLAccess" not in content:
        if path.name == DYNAMIC_SECURITY:
            yield _unreadable(path, "it holds no accounts")
        return
    try:
        msgspec.convert(content, PluginFile)
    except msgspec.ValidationError as error:
        yield _unreadable(path, f"the plugin would not understand it: {error}")
        return
    yield from account_rules.judge(path, Accounts(content))


def settings_in(path: Path) -> Mapping[str, Any] | None:
    """The content of a YAML file of ours; None for anything else, and for what cannot be read: `config check` says."""
    if path.suffix not in (".yaml", ".yml"):
        return None
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            return None
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _unreadable(path: Path, why: str) -> Finding:
    return Finding("unreadable", Severity.ERROR, str(path), f"it cannot be read: {why}", "Examine it as its owner")
