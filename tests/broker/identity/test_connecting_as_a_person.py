"""What commands say when TLS is forgotten, and that they take the site's own file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from benchmarks.access_matrix.site import HOST, Site


def tierwise(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tierwise", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": ".", "COLUMNS": "400"},
        check=False,
    )


def test_a_connection_without_tls_to_a_port_with_tls_names_the_options(own_site: Site) -> None:
    """Not "connection reset": what listens speaks TLS, and a certificate is to be given."""
    port = str(own_site.process.endpoint.port)
    done = tierwise("watch", "--site", "home", "--host", HOST, "--port", port, "--count", "1")

    assert done.returncode == 1
    assert f"port {port} speaks TLS, and no certificate was given: a person gives --tls-directory" in done.stderr
    assert "`tls` in the section `broker`" in done.stderr


def test_commands_take_the_sites_own_file(own_site: Site, tmp_path: Path) -> None:
    """Host, port and site are in it; who asks gives a certificate, and is told to where it is missing."""
    file = tmp_path / "site.yaml"
    port = own_site.process.endpoint.port
    file.write_text(
        yaml.safe_dump(
            {"version": 1, "site": "home", "hosts": [HOST], "port": port, "nodes": {"end": ["s1", "s2"]},
             "people": {"operators": ["alice"]}}
        )
    )  # fmt: skip
    alice = ("--config", str(file), "--tls-directory", str(own_site.tls("alice").ca_file.parent))  # type: ignore[arg-type]

    watched = tierwise("watch", *alice, "--for", "1s")
    goal = tierwise("orchestrator", "goal", *alice, "--timeout", "1")
    why = tierwise("explain", "--live", "--device", "s1", *alice, "--timeout", "1")
    status = tierwise("status", *alice, "--timeout", "1")
    without = tierwise("status", "--config", str(file))

    assert watched.returncode == 0, watched.stderr
    for done in (goal, why):
        assert done.returncode == 1
        assert "no answer from orchestrator at site home" in done.stderr
    assert status.returncode == 1
    assert "no orchestrator at site home" in status.stderr
    assert without.returncode == 2
    assert "give your own folder" in without.stderr
