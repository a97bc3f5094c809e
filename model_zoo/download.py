"""One file over HTTP into a `.part` file, continued where an earlier attempt ended.

What is checked here is only that the file is whole by the server's own word; the caller checks its sha256.
"""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from broker.private_files import follow_no_link
from model_zoo.errors import FetchFailed, Unreachable

CONNECT_TIMEOUT_S = 5.0  # also the longest silence of a server in the middle of a file
FRUITLESS_ATTEMPTS = 3  # in a row, without one new byte
PAUSE_S = 1.0
BLOCK_BYTES = 1 << 16
RETRIED_STATUSES = {408, 429, 500, 502, 503, 504}

Report = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Source:
    """What to get, and from how many bytes on it cannot be what we want."""

    url: str
    largest_bytes: int


class _Interrupted(Exception):
    """The transfer broke off; what came so far is in the file."""


def download(source: Source, part: Path, report: Report, pause: Callable[[float], None] = time.sleep) -> None:
    """Make `part` the whole of `source`. `report(bytes so far, bytes in all or None)` is called per block.

    Raises Unreachable when no connection was ever made, FetchFailed for all else. `part` stays for the next attempt.
    """
    fruitless = 0
    connected = False
    while True:
        before = _size(part)
        try:
            _transfer(source, part, report)
            return
        except _Interrupted as error:
            connected = True
            fruitless = fruitless + 1 if _size(part) <= before else 0
            cause: Exception = error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if not connected and not isinstance(error, urllib.error.HTTPError):
                raise Unreachable(source.url, _reason(error)) from error
            fruitless += 1
            cause = error
        except OSError as error:
            raise FetchFailed(f"cannot write {part}: {error.strerror or error}") from error
        if isinstance(cause, urllib.error.HTTPError) and cause.code not in RETRIED_STATUSES:
            raise FetchFailed(f"{source.url} was refused: {cause.code} {cause.reason}") from cause
        if fruitless >= FRUITLESS_ATTEMPTS:
            raise FetchFailed(f"{source.url} breaks off again and again ({_reason(cause)}); try again later") from cause
        pause(PAUSE_S)


def _transfer(source: Source, part: Path, report: Report) -> None:
    offset = _size(part)
    request = urllib.request.Request(source.url, headers={"User-Agent": "tierwise", "Accept-Encoding": "identity"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        response = urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            # Either we have it all already, or the file is another one now; its checksum tells.
            if _total_in(error.headers.get("Content-Range", "")) != offset:
                part.unlink()
                raise _Interrupted("the server's file is shorter than what we had") from error
            return
        raise
    with response:
        if offset and _start_in(response) != offset:
            offset = 0  # the server knows no ranges, and sends everything
        total = _announced(response, offset)
        if total is not None and total > source.largest_bytes:
            raise FetchFailed(f"{source.url} is {total} bytes long; at most {source.largest_bytes} were expected")
        with open(part, "r+b" if offset else "wb", opener=follow_no_link) as file:
            file.seek(offset)
            _copy(response, file, source, total, report)


def _copy(
    response: http.client.HTTPResponse, file: BinaryIO, source: Source, total: int | None, report: Report
) -> None:
    done = file.tell()
    report(done, total)
    while True:
        try:
            block = response.read1(BLOCK_BYTES)
        except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise _Interrupted(_reason(error)) from error
        if not block:
            break
        file.write(block)
        done += len(block)
        if done > source.largest_bytes:
            raise FetchFailed(f"{source.url} is longer than the {source.largest_bytes} bytes that were expected")
        report(done, total)
    if total is not None and done < total:
        raise _Interrupted(f"{done} of {total} bytes came")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _start_in(response: http.client.HTTPResponse) -> int | None:
    """Where a partial answer starts; None if it is not partial."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return None
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _total_in(content_range: str) -> int | None:
    match = re.search(r"/(\d+)\Z", content_range)
    return int(match[1]) if match else None


def _announced(response: http.client.HTTPResponse, offset: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return offset + int(length) if length.isdecimal() else None


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or reason or type(error).__name__).lower()
