"""`tierwise-agent` as a person types it, and what it loads."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from device_agent.__main__ import main
from model_zoo.cache import models_directory

DEVICE = """\
version: 1
site: home
node: s1
tier: end
broker: {port: 1}
requester: {mode: periodic}
"""


def agent(*arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "device_agent", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def device_file(tmp_path: Path, text: str = DEVICE) -> Path:
    file = tmp_path / "device.yaml"
    file.write_text(text)
    return file


def test_a_node_outlives_a_hangup_from_its_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A reload that comes before it has read its file must not end it."""
    handlers: list[object] = []

    def run(_file: Path) -> int:
        handlers.append(signal.getsignal(signal.SIGHUP))
        return 0

    monkeypatch.setattr("device_agent.run.run", run)
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert 0 == main(["run", "--config", str(device_file(tmp_path))])
    finally:
        signal.signal(signal.SIGHUP, former)
    assert [False] == [handler is signal.SIG_DFL for handler in handlers]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["check", "--help"], ["models", "fetch", "--help"]]
)
def test_help(arguments: list[str]) -> None:
    """Every command explains itself."""
    done = agent(*arguments)

    assert (0, "") == (done.returncode, done.stderr)
    assert "usage: tierwise-agent" in done.stdout


def test_help_shows_examples() -> None:
    """The first page says what to type."""
    assert "tierwise-agent run --config device.yaml" in agent("--help").stdout


@pytest.mark.parametrize("arguments", [[], ["sing"], ["run"], ["models"], ["check", "--konfig", "x"]])
def test_wrong_usage(arguments: list[str]) -> None:
    """Exit code 2, as everywhere."""
    assert 2 == agent(*arguments).returncode


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_wrong_file_is_refused_with_all_its_errors(tmp_path: Path, command: str) -> None:
    """Each mistake with its place, no traceback, exit code 1."""
    file = device_file(tmp_path, DEVICE.replace("tier: end", "tier: ende").replace("port: 1", "port: 100000"))
    done = agent(command, "--config", str(file))

    assert (1, "") == (done.returncode, done.stdout)
    assert [True, True] == [f"{file}:{line}:" in done.stderr for line in (4, 5)]
    assert "Traceback" not in done.stderr


def test_a_missing_photograph_folder_ends_run_with_one_line(tmp_path: Path) -> None:
    """What cannot work is said at the start, and how to mend it."""
    text = DEVICE.replace("mode: periodic", f"mode: periodic, images: {{directory: {tmp_path / 'none'}}}")
    done = agent("run", "--config", str(device_file(tmp_path, text)))

    assert 1 == done.returncode
    assert 1 == len(done.stderr.splitlines())
    assert "put photographs there" in done.stderr


@pytest.mark.models
def test_check_shows_what_is_right(tmp_path: Path) -> None:
    """Models, a photograph and the broker, which need not be there yet."""
    done = agent("check", "--config", str(device_file(tmp_path)))

    assert (0, "") == (done.returncode, done.stderr)
    assert "model       d0" in done.stdout
    assert "photograph" in done.stdout
    assert "does not answer now" in done.stdout


def test_check_names_the_command_that_gets_a_missing_model(tmp_path: Path) -> None:
    """Exit code 1, one line for each model."""
    text = DEVICE + f"models: {{pool: [d0, d7], directory: {tmp_path / 'none'}}}\n"
    done = agent("check", "--config", str(device_file(tmp_path, text)))

    assert (1, 2) == (done.returncode, len(done.stderr.splitlines()))
    assert "tierwise-agent models fetch d7" in done.stderr


@pytest.mark.models
def test_advice_names_commands_that_exist_on_a_node(tmp_path: Path) -> None:
    """`tierwise` is not installed there: a missing, a damaged and an added model, in check and in models verify."""
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    index = json.loads((models_directory() / "index.json").read_text())
    index["models"]["net"] = {**index["models"]["d7"], "origin": "added"}
    (zoo / "index.json").write_text(json.dumps({**index, "models": {n: index["models"][n] for n in ("d7", "net")}}))
    (zoo / "d7.tflite").write_bytes(b"damaged")
    text = DEVICE + f"models: {{pool: [d0, d7, net], directory: {zoo}}}\n"
    checked = agent("check", "--config", str(device_file(tmp_path, text)))
    verified = agent("models", "verify", "--directory", str(zoo))

    assert (1, 1) == (checked.returncode, verified.returncode)
    for told in (checked.stderr, verified.stderr):
        assert "tierwise-agent models fetch d7" in told
        assert "tierwise zoo" not in told
    assert "tierwise-agent models fetch d0" in checked.stderr


@pytest.mark.models
def test_models_list_and_verify() -> None:
    """Every model of the manifest is listed, and those in the cache are what the index says."""
    listed, verified = agent("models", "list"), agent("models", "verify")

    assert [f"d{number}" for number in range(8)] == [line.split()[0] for line in listed.stdout.splitlines()[1:]]
    assert (0, "") == (verified.returncode, verified.stderr)


@pytest.mark.models
def test_models_bench_times_what_is_named_in_plain_text() -> None:
    """A line for each, the fastest first."""
    done = agent("models", "bench", "d7", "d3")

    assert 0 == done.returncode, done.stderr
    assert {"d3", "d7"} == {line.split()[0] for line in done.stdout.splitlines()}
    assert all("median " in line and " 200 runs" in line for line in done.stdout.splitlines())


def test_models_verify_of_an_empty_cache(tmp_path: Path) -> None:
    """Exit code 1, with the command that fills it."""
    done = agent("models", "verify", "--directory", str(tmp_path))

    assert 1 == done.returncode
    assert "tierwise-agent models fetch" in done.stderr


def test_models_refuses_a_name_that_nobody_knows() -> None:
    """The message lists those that exist."""
    done = agent("models", "fetch", "d9")

    assert 1 == done.returncode
    assert "'d9' is not one of the models d0, d1" in done.stderr


def test_help_loads_nothing_heavy() -> None:
    """`--help` needs neither pydantic nor paho."""
    code = (
        "import sys, json\n"
        "from device_agent.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('pydantic', 'paho', 'yaml', 'asyncio', 'numpy', 'PIL')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))\n"
    )

    assert [] == json.loads(python(code).stdout.splitlines()[-1])


HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in HIDDEN:
            raise ImportError(name + ' is hidden')
HIDDEN = {'torch', 'influxdb_client', 'typer', 'rich', 'matplotlib', 'tensorflow', 'cryptography'}
sys.meta_path.insert(0, Hidden())
"""


def test_the_device_side_imports_without_what_belongs_to_others() -> None:
    """torch, influxdb-client, typer, rich, matplotlib, TensorFlow and cryptography hidden: all of the agent imports."""
    code = HIDE + (
        "import importlib, pkgutil, device_agent, model_zoo, configs, broker\n"
        "for package in (broker, configs, device_agent):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not module.name.endswith('__main__') and 'identity' not in module.name:\n"
        "            importlib.import_module(module.name)\n"
        "import model_zoo.pool\n"
        "print('fine')\n"
    )
    done = python(code)

    assert ("fine", 0) == (done.stdout.strip(), done.returncode), done.stderr


@pytest.mark.parametrize("name", ["torch", "influxdb_client", "typer", "rich", "cryptography"])
def test_hiding_works(name: str) -> None:
    """The test above would fail if one of them were imported."""
    done = python(HIDE + f"import {name}")

    assert 1 == done.returncode
    assert f"{name} is hidden" in done.stderr


def test_an_agent_at_rest_has_loaded_neither_runtime_nor_numpy_nor_pillow(tmp_path: Path) -> None:
    """They come with the first photograph; `Agent` itself needs none of them."""
    code = (
        "import sys, json, asyncio\n"
        "from pathlib import Path\n"
        "from broker.clock import SystemClock\n"
        "from configs.loader import load\n"
        "from configs.node import NodeConfig\n"
        "from device_agent.agent import Agent\n"
        "async def rest():\n"
        f"    agent = Agent(load(Path({str(device_file(tmp_path))!r}), NodeConfig), SystemClock())\n"
        "    stop = asyncio.Event(); stop.set()\n"
        "    await agent.run(stop)\n"
        "asyncio.run(rest())\n"
        "heavy = ('numpy', 'PIL', 'ai_edge_litert', 'tflite_runtime')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))\n"
    )
    device_file(tmp_path, DEVICE.replace("mode: periodic", "mode: none"))
    done = python(code)

    assert [] == json.loads(done.stdout.splitlines()[-1]), done.stderr
