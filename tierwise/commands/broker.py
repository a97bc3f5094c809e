"""`tierwise broker`: the Mosquitto of a site, its certificates and its accounts."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from broker.errors import BrokerUnavailable, IdentityUnusable, InvalidName, NotConnected, TlsUnusable
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.vocabulary import NodeId, node_id
from tierwise.watched_files import WatchedFiles

app = typer.Typer(
    help="Start the Mosquitto of a site, and keep its certificates and accounts.",
    no_args_is_help=True,
    add_completion=False,
)

LOOK_AT_LOG_S = 0.2
RELOADED = ("crl.pem", "broker.crt")

SiteFile = Annotated[Path, typer.Argument(help="The site's YAML file: who belongs to it.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "--directory",
        help="The provisioned folder; default: where it was before, or that of the site's file if it has `nodes`, or "
        "site.",
    ),
]
Directory = Annotated[
    Path | None, typer.Option("--directory", help="The provisioned folder; default: this one if it is one, or site.")
]
Host = Annotated[str | None, typer.Option(help="Host of the running broker; default: those of the site's file.")]
Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of the running broker; default: that of the site's file.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def broker() -> None:
    """Start the Mosquitto of a site, and keep its certificates and accounts."""


@app.command(epilog="Example: tierwise broker run --port 1883 --directory run/broker")
def run(
    config: Annotated[Path | None, typer.Option(help="The broker's YAML file; its defaults without it.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 draws a free one.")] = None,
    directory: Annotated[Path | None, typer.Option(help="Configuration, log and persistent store.")] = None,
    identity: Annotated[
        Path | None, typer.Option(help="The folder `broker` that `provision` made; none: no accounts.")
    ] = None,
) -> None:
    """Start Mosquitto with a configuration written for it, pass its log through, and end it on SIGTERM or Ctrl-C.

    Without accounts (identity) it listens on loopback only. With them it takes a renewed certificate or revocation list
    as soon as the file changes. Exit codes: 0 after SIGTERM or Ctrl-C; 1 when it cannot start or ends by itself; 2
    wrong usage.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    process = MosquittoProcess(_settings(config, port, directory, identity))
    folder = process.settings.identity
    watched = WatchedFiles([folder / name for name in RELOADED] if folder is not None else [])
    with process, process.log_path.open("rb") as log:
        log.seek(process.log_start)
        typer.echo(f"Mosquitto listens on {process.endpoint}, {_mode(process.settings)}.")
        typer.echo(f"Its configuration, log and store are in {process.settings.directory}. Ctrl-C ends it.")
        while not stopping.wait(LOOK_AT_LOG_S) and process.exit_code() is None:
            _pass_through(log)
            if watched.changed():
                process.reload()
        ended_by_itself = process.exit_code()
        process.stop()
        _pass_through(log)
    if ended_by_itself is not None:
        raise BrokerUnavailable(f"Mosquitto ended by itself with exit code {ended_by_itself}; its log is above")


@app.command("provision", epilog="Example: tierwise broker provision lab/site.yaml")
def provision_command(
    site_file: SiteFile,
    output: Output = None,
    host: Host = None,
    port: Port = None,
    reinstate: Annotated[list[str] | None, typer.Option(help="Give a revoked name access again.")] = None,
    as_json: Json = False,
) -> None:
    """Make, or bring up to date: the authority, accounts, access rules, and a folder for everybody, ready to run.

    A node's folder has its certificate, key and YAML file. Run again it keeps what is good, adds what is new in the
    file, renews what expires soon, and brings the broker section of each YAML file up to date; other edits stay. A
    running broker is told of new and revoked names, without a restart. Exit codes: 0 done; 1 failed, or the broker at
    --host was not reached; 2 wrong usage.
    """
    names = frozenset(_name(text) for text in reinstate or [])
    _bring_up_to_date(site_file, output, host, port, None, names, as_json)


@app.command(epilog="Example: tierwise broker renew lab/site.yaml --within-days 60")
def renew(
    site_file: SiteFile,
    output: Output = None,
    within_days: Annotated[
        int | None, typer.Option(min=0, help="Renew what expires within so many; by default those of the file.")
    ] = None,
    host: Host = None,
    port: Port = None,
    as_json: Json = False,
) -> None:
    """Replace every certificate that expires soon, each with a new key.

    Copy the folders named to their nodes, which take them at their next connection; a running broker takes its own at
    once. Exit codes: 0 done; 1 failed, or the broker at --host was not reached; 2 wrong usage.
    """
    _bring_up_to_date(site_file, output, host, port, within_days, frozenset(), as_json)


@app.command(epilog="Example: tierwise broker revoke s3 --directory lab")
def revoke(
    name: Annotated[str, typer.Argument(help="The node, orchestrator or person.")],
    directory: Directory = None,
    site_file: Annotated[
        Path | None, typer.Option(help="The site's YAML file; default: site.yaml in the folder or beside it.")
    ] = None,
    host: Host = None,
    port: Port = None,
    as_json: Json = False,
) -> None:
    """Take away all access: the live session ends, the account is shut, its certificates go onto the revocation list.

    The running broker is that of the site's file. While it has not confirmed, `broker status` says so, and the same
    command again completes it. Exit codes: 0 enforced; 1 failed, or the running broker has not confirmed (the files are
    done then); 2 wrong usage.
    """
    _need_cryptography()
    from broker.identity.control import administrator
    from broker.identity.folder import Folder
    from broker.identity.revoking import revoke as take_away
    from tierwise.site_accounts import broker_of, provisioned_folder

    revoked, folder = _name(name), Folder(provisioned_folder(directory))
    place = broker_of(folder.root, site_file, host, port)
    control, problem = None, f"{folder.root} does not say where the broker is: name --site-file, or --host and --port"
    if place is not None:
        try:
            control = administrator(folder, place.hosts, place.port)
        except TlsUnusable as error:
            problem = str(error)
    done = take_away(folder, revoked, datetime.now(UTC), control)
    if as_json:
        told = {"name": done.name, "serials": done.serials, "session_ended": done.session_ended}
        print(json.dumps({**told, "problem": "" if done.session_ended else done.problem or problem}))
    else:
        certificates = "certificate" if len(done.serials) == 1 else "certificates"
        ended = f"; the broker at {place} has ended its session" if done.session_ended else ""
        typer.echo(f"{done.name} is revoked, with {len(done.serials)} {certificates}{ended}.")
        if not done.listed:
            typer.echo("authority/ca.key is not here, so the revocation list is unchanged: run this again with it.")
        typer.echo(f"If the broker's machine has a copy of {folder.broker}, copy crl.pem there; it is taken at once.")
    if not done.session_ended:
        raise NotConnected(
            f"{done.name} may still be connected, no running broker has confirmed the revocation: "
            f"{done.problem or problem}. Run this again when it is reached; `broker status` shows it until then"
        )


@app.command(epilog="Example: tierwise broker status --directory lab")
def status(directory: Directory = None, as_json: Json = False) -> None:
    """Who has access, until when, and who was revoked. Exit codes: 0 printed; 1 no such folder; 2 wrong usage."""
    _need_cryptography()
    from broker.identity.folder import Folder
    from broker.identity.status import accounts_in
    from tierwise.site_accounts import provisioned_folder

    rows = accounts_in(Folder(provisioned_folder(directory)), datetime.now(UTC))
    if as_json:
        print(json.dumps({"accounts": [row.as_json() for row in rows]}, indent=1))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "role", "until", "days left", box=box.SIMPLE_HEAD)
    table.add_column("access", no_wrap=True)
    for row in rows:
        until = row.expires.date().isoformat() if row.expires else "-"
        table.add_row(row.name, row.role, until, "-" if row.days_left is None else str(row.days_left), row.access)
    Console().print(table)


def _bring_up_to_date(
    site_file: Path,
    output: Path | None,
    host: str | None,
    port: int | None,
    renew_days: int | None,
    reinstate: frozenset[NodeId],
    as_json: bool,
) -> None:
    from configs.loader import load
    from configs.site import SiteConfig

    config = load(site_file, SiteConfig)
    _need_cryptography()
    from broker.identity.files import only_one
    from broker.identity.folder import Folder
    from broker.identity.register import load_register
    from tierwise.site_accounts import BrokerPlace, carry_out, site_folder, tell_broker

    folder = Folder(site_folder(site_file, output))
    with only_one(folder.lock), _progress() as on_progress:
        done, files = carry_out(config, folder.root, renew_days, reinstate, on_progress, site_file)
        unenforced = load_register(folder.register).unenforced
    told: dict[str, Any] = {
        "issued": done.issued, "renewed": done.renewed, "kept": len(done.kept), "revoked": done.revoked,
        "not_in_file": done.left, "files_written": files.written, "files_updated": files.rewritten,
        "files_left": sorted(files.left),
    }  # fmt: skip
    news = not done.made_authority and (done.issued or reinstate or unenforced)
    problem = ""
    if host is not None or news:  # not under the lock: a revocation must not wait for a thousand accounts
        place = BrokerPlace(config.hosts if host is None else (host,), port or config.port)
        try:
            changed = tell_broker(config, folder.root, place, done)
            told["changed_in_broker"] = [account.name for account in changed]
        except NotConnected as error:
            if host is not None:
                raise
            problem = str(error)
    if as_json:
        print(json.dumps(told))
    else:
        _tell_what_was_done(told, folder.root, config.orchestrator, done.made_authority)
    for reason in files.left.values():
        print(f"tierwise: not brought up to date: {reason}", file=sys.stderr)
    if problem:
        print(f"tierwise: a running broker does not know of these changes yet: {problem}", file=sys.stderr)


def _tell_what_was_done(told: dict[str, Any], root: Path, orchestrator: str, made_authority: bool) -> None:
    for word, names in told.items():
        shown = names if isinstance(names, int) else _shortened(names)
        typer.echo(f"{word.replace('_', ' ')}: {shown}")
    if made_authority:
        typer.echo(f"{root}/authority/ca.key makes certificates of this site: keep a copy offline, and only there.")
    changed = sorted({*told["issued"], *told["renewed"], *told["files_written"], *told["files_updated"]})
    if changed:
        typer.echo(f"Each changed folder under {root} belongs on the machine of its name; it runs where it is, too:")
        typer.echo(f"next: tierwise broker run --config {root}/broker/broker.yaml")
        typer.echo(f"next: tierwise orchestrator run --config {root}/nodes/{orchestrator}/orchestrator.yaml")
        typer.echo(f"next: tierwise-agent run --config {root}/nodes/NAME/node.yaml")
    if not made_authority and "broker" in told["files_updated"]:
        typer.echo("The broker takes its new file with its next start.")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal, if there is one: a thousand certificates take a while."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("certificates", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise IdentityUnusable(f"certificates need {error.name}: pip install cryptography") from error


def _shortened(names: list[NodeId]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "none"


def _name(text: str) -> NodeId:
    try:
        return node_id(text)
    except InvalidName as error:
        raise typer.BadParameter(str(error)) from error


def _settings(
    config: Path | None, port: int | None, directory: Path | None, identity: Path | None
) -> MosquittoSettings:
    """The file's, or the defaults; options win. Raises ConfigError, BrokerUnavailable."""
    from configs.loader import load
    from configs.mosquitto import MosquittoConfig

    settings = load(config, MosquittoConfig) if config is not None else MosquittoConfig(version=1)
    return MosquittoSettings(
        directory=directory or settings.directory,
        host=settings.host,
        port=settings.port if port is None else port,
        max_packet_bytes=settings.max_packet_bytes,
        max_queued_messages=settings.max_queued_messages,
        max_queued_bytes=settings.max_queued_bytes,
        max_connections=settings.max_connections,
        log_level=settings.log_level,
        identity=identity or settings.identity,
    )


def _mode(settings: MosquittoSettings) -> str:
    if settings.identity is None:
        return "without accounts and therefore on loopback only"
    return f"for those with a certificate of {settings.identity}"


def _pass_through(log: BinaryIO) -> None:
    sys.stderr.write(log.read().decode(errors="replace"))
    sys.stderr.flush()
