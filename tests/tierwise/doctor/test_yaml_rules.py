"""Every rule of the doctor about YAML files finds its bad example, and none finds anything in a good one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tierwise.doctor.yaml_rules import ClientCertificate, Settings, yaml_rules


def found(settings: Settings) -> set[str]:
    """Names of the rules that find something."""
    return {finding.rule for finding in yaml_rules.judge(Path("file"), settings)}


TLS = {"ca_file": "ca.crt", "certificate_file": "client.crt", "key_file": "client.key"}
NODE = {"version": 1, "site": "home", "node": "s1", "broker": {"host": "edge.local", "port": 8883, "tls": TLS}}
YAML_EXAMPLES: dict[str, Settings] = {
    "plain-connection": Settings({**NODE, "broker": {"host": "192.168.1.10"}}),
    "secret-inline": Settings({**NODE, "influxdb": {"token": "abc"}}),
    "broker-open": Settings({"version": 1, "host": "0.0.0.0"}),
    "image-does-not-fit": Settings({"version": 1, "max_packet_bytes": 100_000}),
    "certificate-shared": Settings(NODE, ("edge.yaml",)),
    "tls-missing": Settings({**NODE, "broker": {"host": "127.0.0.1", "port": 9999}}, tls_ports=frozenset({9999})),
    "site-of-another": Settings(NODE, (), ClientCertificate("s1", "lab")),
    "node-id-of-another": Settings(NODE, (), ClientCertificate("s2", "home")),
    "authority-not-the-brokers": Settings(NODE, (), ClientCertificate("s1", "home", trusts_broker=False)),
    "stale-node-file": Settings(NODE, stale=("broker.port is not 9999 as site.yaml says",)),
    "server-not-checked": Settings({**NODE, "influxdb": {"url": "https://influx.example", "verify": False}}),
}
GOOD_YAML: list[dict[str, Any]] = [
    NODE,
    {**NODE, "broker": {"host": "127.0.0.1"}},
    {"version": 1, "host": "0.0.0.0", "identity": "site/broker", "max_packet_bytes": 300_000},
    {**NODE, "influxdb": {"url": "http://127.0.0.1:8086", "token_file": "token", "token_environment": "TOKEN"}},
    {},
]


@pytest.mark.parametrize("name", YAML_EXAMPLES)
def test_a_bad_yaml_file_is_found(name):
    """And that alone."""
    assert {name} == found(YAML_EXAMPLES[name])


@pytest.mark.parametrize(
    ("content", "certificate"),
    [
        (NODE, ClientCertificate("s1", "home")),
        (NODE, ClientCertificate("s1", "")),  # an authority that others made names no site
        ({**NODE, "site": "h" * 63}, ClientCertificate("s1", "h" * 50)),  # as much of it as there is place for
        ({"site": "home", "broker": {"tls": TLS}}, ClientCertificate("orchestrator", "home")),
    ],
)
def test_a_certificate_that_fits_is_not_reproached(content, certificate):
    """The orchestrator's file may leave its node id out."""
    assert set() == found(Settings(content, (), certificate))


@pytest.mark.parametrize("content", GOOD_YAML)
def test_a_good_yaml_file_is_not_reproached(content):
    """Secured, or plain on loopback."""
    assert set() == found(Settings(content))


@pytest.mark.parametrize(
    ("influxdb", "rule"),
    [
        ({"url": "http://influx.example:8086"}, "server-not-checked"),
        ({"url": "http://me:secret@127.0.0.1:8086"}, "secret-inline"),
        ({"servers": [{"api_key": "abc"}]}, "secret-inline"),
    ],
)
def test_a_bad_time_series_section_is_found(influxdb, rule):
    """In plain text, or with its secret in it."""
    assert rule in found(Settings({**NODE, "influxdb": influxdb}))
