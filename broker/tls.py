"""A client's side of TLS: which files, and the context made of them."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from broker.errors import TlsUnusable

CA_NAME = "ca.crt"
CERTIFICATE_NAME = "client.crt"
KEY_NAME = "client.key"
ISSUER_PREFIX = "Tierwise site "  # of an authority's organisation name
ORGANISATION, COMMON_NAME = b"\x06\x03\x55\x04\x0a", b"\x06\x03\x55\x04\x03"  # DER of 2.5.4.10 and 2.5.4.3
OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ANOTHER_HOST = "name this host under hosts in site.yaml, and provision again"
_ANOTHER_AUTHORITY = "the broker is of another site, or ca.crt is: copy it again"
# By OpenSSL's number of what is wrong with the broker's certificate.
_MENDED_BY = {
    9: "set this machine's clock, or the broker's",
    10: "set this machine's clock, or renew the broker's certificate: tierwise broker renew",
    18: _ANOTHER_AUTHORITY,
    19: _ANOTHER_AUTHORITY,
    20: _ANOTHER_AUTHORITY,
    62: _ANOTHER_HOST,
    64: _ANOTHER_HOST,
}


PROBE_TIMEOUT_S = 3.0
TLS_FORGOTTEN = (
    "port {port} speaks TLS, and no certificate was given: a person gives --tls-directory, a node and the orchestrator "
    "`tls` in the section `broker` of their YAML"
)


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to trust, and who one is: PEM files, as `tierwise broker provision` makes them."""

    ca_file: Path
    certificate_file: Path
    key_file: Path

    @classmethod
    def in_directory(cls, directory: Path) -> Tls:
        """As `tierwise broker provision` names the files of a node's or a person's folder."""
        return cls(directory / CA_NAME, directory / CERTIFICATE_NAME, directory / KEY_NAME)

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer; the broker's certificate and host name are checked. Raises TlsUnusable.

        It reads the files anew each time, so a renewed certificate counts from the next connection on.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            mode = self.key_file.stat().st_mode
            if mode & OTHERS:
                raise TlsUnusable(
                    f"{self.key_file} is open to other users (mode {stat.S_IMODE(mode):04o}): chmod 600 {self.key_file}"
                )
            _load(context, self)
        except FileNotFoundError as error:
            missing = next((file for file in self._files() if not file.exists()), self.key_file)
            raise TlsUnusable(f"{missing} is not there: copy what `tierwise broker provision` made") from error
        except PermissionError as error:
            closed = next((file for file in self._files() if not os.access(file, os.R_OK)), self.key_file)
            raise TlsUnusable(f"{closed} belongs to another user: run as that user, or chown it") from error
        except OSError as error:
            raise TlsUnusable(f"{self.certificate_file} or {self.key_file} cannot be used: {error}") from error
        return context

    def _files(self) -> tuple[Path, Path, Path]:
        return self.ca_file, self.certificate_file, self.key_file


def names_in_certificate(file: Path) -> tuple[str, str]:
    """The site and the node that a certificate of `tierwise broker provision` (PEM) names; empty where it does not.

    The organisation of its issuer and its own common name, searched for in the DER: the standard library parses no
    certificate but a peer's, and what is said of it here is decided by the broker anyway.
    """
    try:
        der = ssl.PEM_cert_to_DER_cert(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return "", ""
    organisations, names = (_values(der, identifier) for identifier in (ORGANISATION, COMMON_NAME))
    issuer = next((name for name in organisations if name.startswith(ISSUER_PREFIX)), "")
    return issuer.removeprefix(ISSUER_PREFIX), names[-1] if names else ""


def _values(der: bytes, identifier: bytes) -> list[str]:
    """The values of an attribute of names: its identifier, a string's tag, its length in one byte, its text."""
    found = re.finditer(re.escape(identifier) + rb"[\x0c\x13](.)", der, re.DOTALL)
    return [der[each.end() : each.end() + each[1][0]].decode(errors="replace") for each in found]


def why_no_link(error: Exception) -> str:
    """What a failed connection says, and how to mend it where the broker's certificate was not accepted."""
    mend = _MENDED_BY.get(error.verify_code) if isinstance(error, ssl.SSLCertVerificationError) else None
    return f"{error}; {mend}" if mend else str(error)


async def speaks_tls(host: str, port: int) -> bool:
    """Whether what listens there answers a TLS handshake; any certificate will do, and nothing is sent after it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # it wants a certificate of ours, or another version
    except (OSError, UnicodeError):  # nothing listens, no TLS, no answer in time, or no host name
        return False
    writer.transport.abort()
    return True


def _load(context: ssl.SSLContext, tls: Tls) -> None:
    try:
        context.load_verify_locations(cafile=tls.ca_file)
    except ssl.SSLError as error:
        raise TlsUnusable(f"{tls.ca_file} holds no certificate: copy it again") from error
    try:
        # An empty password: OpenSSL would ask for that of an encrypted key on the terminal.
        context.load_cert_chain(tls.certificate_file, tls.key_file, password="")
    except ssl.SSLError as error:
        raise TlsUnusable(
            f"{tls.certificate_file} and {tls.key_file} do not fit together, or are damaged: copy both again ({error})"
        ) from error
