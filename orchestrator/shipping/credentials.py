"""Who this program is to a server: read anew for each connection, sent in one header, and shown nowhere.

A server, or a proxy before it, may repeat a request's headers in its answer; so whatever of an answer is shown, logged
or stored goes through `redact` first.
"""

from __future__ import annotations

import base64
import html
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, quote_plus

from configs.influxdb import InfluxApi, InfluxSection
from orchestrator.errors import InfluxUnavailable

MAX_SECRET_BYTES = 10_000
MIN_ENCODED = 6  # characters of base64 that are a secret's, and not chance
REDACTED = "[redacted]"


@dataclass(frozen=True)
class Credentials:
    """A token, or a user and a password; all empty for a server that asks for none."""

    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)

    def header(self, api: InfluxApi) -> dict[str, str]:
        """The request's header `Authorization`, none without credentials.

        InfluxDB 1.x takes a user and a password as HTTP's Basic scheme; a token `user:password` is both.
        """
        if self.username:
            return {"Authorization": _basic(f"{self.username}:{self.password}")}
        if api is InfluxApi.V1 and ":" in self.token:
            return {"Authorization": _basic(self.token)}
        return {"Authorization": f"Token {self.token}"} if self.token else {}

    def redact(self, text: str) -> str:
        """`text` without token and password, also where they are encoded."""
        for form in self._forms:
            text = text.replace(form, REDACTED)
        return text

    def redact_bytes(self, content: bytes) -> bytes:
        """The same of bytes that may be no text."""
        for form in self._forms:
            content = content.replace(form.encode(), REDACTED.encode())
        return content

    @cached_property
    def _forms(self) -> tuple[str, ...]:
        """All that must not be shown, the longest first."""
        secrets = {self.token, self.password, *self.token.split(":", 1)[1:]}
        pairs = {self.token} | ({f"{self.username}:{self.password}"} if self.username else set())
        forms: set[str] = set()
        for secret in secrets - {""}:
            forms |= _spellings(secret) | _base64_forms(secret)
        for pair in pairs - {""}:
            whole = _basic(pair).removeprefix("Basic ")
            forms |= {whole, whole.rstrip("="), *_spellings(whole)}
        return tuple(sorted(forms - {""}, key=lambda form: (-len(form), form)))


def read_credentials(section: InfluxSection) -> Credentials:
    """What the section names. Raises InfluxUnavailable that says what to put where."""
    token = _secret(section.token_file, section.token_environment, "token")
    password = _secret(section.password_file, section.password_environment, "password")
    return Credentials(token, section.username or "", password)


def _secret(file: Path | None, variable: str | None, what: str) -> str:
    if variable is not None:
        found = os.environ.get(variable, "")
        where = f"the environment variable {variable} (influxdb.{what}_environment)"
    elif file is not None:
        where = f"{file} (influxdb.{what}_file)"
        found = _content(file, where, what)
    else:
        return ""
    found = found.strip()
    if not found:
        raise InfluxUnavailable(f"no {what} in {where}; put it there")
    if not found.isprintable() or (what == "token" and not found.isascii()):
        raise InfluxUnavailable(f"{where} holds more than a {what}; put the {what} there alone, on one line")
    return found


def _content(file: Path, where: str, what: str) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_SECRET_BYTES).decode()
    except OSError as error:
        raise InfluxUnavailable(f"cannot read {where}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InfluxUnavailable(f"{where} holds no {what} but other bytes") from error


def _basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _spellings(secret: str) -> set[str]:
    """As it is, and as URLs, JSON, HTML and Python write it."""
    escaped = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    escaped.add("".join(f"%{byte:02X}" for byte in secret.encode()))
    as_json = json.dumps(secret)[1:-1]
    texts = {secret, as_json, as_json.replace("/", "\\/"), json.dumps(secret, ensure_ascii=False)[1:-1]}
    texts |= {html.escape(secret), html.escape(secret).replace("&#x27;", "&#39;"), repr(secret)[1:-1]}
    return texts | escaped | {_lower_escapes(each) for each in escaped}


def _lower_escapes(text: str) -> str:
    first, *rest = text.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)])


def _base64_forms(secret: str) -> set[str]:
    """Of the secret anywhere within a longer text: three alignments, less what depends on its neighbours."""
    content, forms = secret.encode(), set()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + content).decode().rstrip("=")
        start = (before * 8 + 5) // 6
        end = (before + len(content)) * 8 // 6
        inner = encoded[start:end]
        if len(inner) >= MIN_ENCODED:
            forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {form for each in forms for form in (each, quote(each, safe=""))}
