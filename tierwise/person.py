"""How a person's command gets onto the bus: its options, the endpoint, and a client that announces nothing."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer
import yaml

from broker.client import MqttClient
from broker.endpoint import Endpoint
from broker.errors import InvalidName
from broker.tls import Tls
from broker.vocabulary import NodeId, SiteId, node_id, site_id
from configs.loader import load
from configs.mosquitto import MosquittoConfig
from configs.node import BrokerSection, NodeConfig
from configs.orchestrator import OrchestratorConfig
from configs.site import SiteConfig
from model_zoo.fitting import DEFAULT_TASK, SiteTask

CONNECT_TIMEOUT_S = 5.0

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="YAML of a node, the orchestrator, the broker or the site, for site, host and port."),
]
Site = Annotated[str | None, typer.Option(help="The site; by default that of --config.")]
Host = Annotated[str | None, typer.Option(help="The broker's host; by default that of --config, else 127.0.0.1.")]
Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="The broker's port; by default that of --config, else 1883.")
]
TlsDirectory = Annotated[
    Path | None,
    typer.Option(
        "--tls-directory",
        envvar="TIERWISE_TLS_DIRECTORY",
        help="Your own certificate: a folder under people/ (or admin/) that `tierwise broker provision` made.",
    ),
]

C = TypeVar("C", bound=MqttClient)


@dataclass(frozen=True, slots=True)
class Bus:
    """One site on one broker."""

    endpoint: Endpoint
    site: SiteId


def endpoint_of(broker: BrokerSection, tls_directory: Path | None = None) -> Endpoint:
    """Where a file says that the broker is, with a person's own certificate.

    The one place where a person's command decides how to connect. Raises TlsUnusable, typer.BadParameter.
    """
    if tls_directory is not None:
        tls = Tls.in_directory(tls_directory)
        tls.context()
        return Endpoint(broker.host, broker.port, broker.keepalive_s, tls=tls)
    if broker.tls is not None:
        raise typer.BadParameter(
            "the certificate in --config is its process's own, and a second connection with it would throw that "
            "process out: give your own folder, people/NAME of tierwise broker provision",
            param_hint="--tls-directory",
        )
    return broker.endpoint()


def bus_of(
    config: Path | None, site: str | None, host: str | None, port: int | None, tls_directory: Path | None
) -> Bus:
    """What the options say; they win over the file. Raises ConfigError, TlsUnusable, typer.BadParameter."""
    broker, chosen = (BrokerSection(), None) if config is None else _read(config, tls_directory)
    changes = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    if site is not None:
        try:
            chosen = site_id(site)
        except InvalidName as error:
            raise typer.BadParameter(str(error), param_hint="--site") from error
    if chosen is None:
        told = "" if config is None else f"{config} names no site: "
        raise typer.BadParameter(f"{told}name the site, or the --config of a node or orchestrator", param_hint="--site")
    return Bus(endpoint_of(broker.model_copy(update=changes), tls_directory), chosen)


def node_option(text: str, option: str) -> NodeId:
    """`text` as a node id. Raises typer.BadParameter."""
    try:
        return node_id(text)
    except InvalidName as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def name_for(purpose: str) -> NodeId:
    """A node id that nobody else has, for a client that is no node."""
    return node_id(f"{purpose}-{secrets.token_hex(4)}")


@asynccontextmanager
async def linked(client: C) -> AsyncIterator[C]:
    """`client`, connecting; it is stopped at the end. What it would log is for its owner to say in one line."""
    logging.getLogger("broker").addHandler(logging.NullHandler())
    link = asyncio.create_task(client.run(), name="link")
    try:
        yield client
    finally:
        await client.stop()
        link.cancel()
        await asyncio.gather(link, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class OrchestratorAt:
    """Which orchestrator, and how a person reaches it.

    `manifest`: the networks that it knows, None for the eight; `task`: their classes and metric.
    """

    bus: Bus
    node: NodeId
    manifest: Path | None
    task: SiteTask = DEFAULT_TASK


def orchestrator_at(config: Path, tls_directory: Path | None) -> OrchestratorAt:
    """What the orchestrator's YAML file, or the site's, says. Raises ConfigError, TlsUnusable, typer.BadParameter."""
    if _is_of_site(_keys_of(config)):
        site = load(config, SiteConfig)
        return OrchestratorAt(Bus(_endpoint_of_site(config, site, tls_directory), site.site), site.orchestrator, None)
    settings = load(config, OrchestratorConfig)
    bus = Bus(endpoint_of(settings.broker, tls_directory), settings.site)
    task = SiteTask(settings.goal.label_set, settings.goal.metric)
    return OrchestratorAt(bus, settings.node, settings.files.manifest, task)


def _is_of_site(keys: set[str]) -> bool:
    return "hosts" in keys and "nodes" in keys


def _endpoint_of_site(file: Path, site: SiteConfig, tls_directory: Path | None) -> Endpoint:
    if tls_directory is None:
        raise typer.BadParameter(
            f"{file} is of a site with accounts: give your own folder, {file.parent / 'people'}/NAME of "
            "tierwise broker provision",
            param_hint="--tls-directory",
        )
    return endpoint_of(BrokerSection(host=site.hosts[0], port=site.port), tls_directory)


def _read(config: Path, tls_directory: Path | None) -> tuple[BrokerSection, SiteId | None]:
    keys = _keys_of(config)
    if _is_of_site(keys):
        site = load(config, SiteConfig)
        _endpoint_of_site(config, site, tls_directory)
        return BrokerSection(host=site.hosts[0], port=site.port), site.site
    if "tier" in keys:
        node = load(config, NodeConfig)
        return node.broker, node.site
    if "site" in keys:
        orchestrator = load(config, OrchestratorConfig)
        return orchestrator.broker, orchestrator.site
    mosquitto = load(config, MosquittoConfig)
    return BrokerSection(host=mosquitto.host, port=mosquitto.port), None


def _keys_of(file: Path) -> set[str]:
    """The keys at the top of a YAML file; none where it is not one, which the loader then says."""
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return set()
    return {str(key.value) for key, _ in root.value} if isinstance(root, yaml.MappingNode) else set()
