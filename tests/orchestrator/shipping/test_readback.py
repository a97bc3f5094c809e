"""What was shipped, read back by InfluxQL: the same figures, to the digit, and answers to what people ask."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks.shipping_study.rows import START_NS, STEP_NS, fill
from benchmarks.shipping_study.servers import PASSWORD, PATH, USER, Influxd
from broker.ports import free_port
from broker.vocabulary import SiteId
from configs.influxdb import InfluxSection
from orchestrator.errors import InfluxUnavailable, NothingLogged
from orchestrator.report import Filter, GroupBy, figures, percentile
from orchestrator.response_log import LOG_NAME, open_for_reading
from orchestrator.shipping import influxql
from orchestrator.shipping.influxql import InfluxReader, QueryRefused
from orchestrator.shipping.queries import QUERIES
from orchestrator.shipping.readback import load_responses
from tierwise.influx_answers import print_questions

pytestmark = pytest.mark.influxdb
HOME = SiteId("home")
HALF_NS = START_NS + 200 * STEP_NS
FILTERS = {
    "all": Filter(),
    "span": Filter(HALF_NS - 100 * STEP_NS, HALF_NS),
    "policy": Filter(policy="edge_only"),
    "for-ever": Filter(-(10**30), 10**30),
}


@pytest.fixture(scope="module")
def shipped(influxd: Influxd, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, InfluxSection]:
    """A log of the last minutes and the section of where it was shipped to, beside another site's points."""
    from orchestrator.shipping.running import shipper
    from orchestrator.shipping.target import Target

    directory = tmp_path_factory.mktemp("shipped")
    token = directory / "token"
    token.write_text(f"{USER}:{PASSWORD}", encoding="ascii")
    influxd.query("CREATE DATABASE readback")
    section = InfluxSection(url=influxd.url, bucket="readback", token_file=token)
    fill(directory, 1000, start_ns=time.time_ns() - 400 * STEP_NS - 10**9)
    with shipper(directory, section) as (ships, _outbox):
        ships.ship()
    with closing(Target(section)) as target:
        target.send([f'response,site=other,node=s1,tier=end outcome="done",response_ms=1.0 {time.time_ns() - 10**9}'])
    return directory / LOG_NAME, section


@pytest.mark.parametrize("by", list(GroupBy))
@pytest.mark.parametrize("name", FILTERS)
def test_the_figures_are_those_of_sqlite_to_the_digit(
    directory: Path, section: InfluxSection, shipped: tuple[Path, InfluxSection], by: GroupBy, name: str
) -> None:
    """Percentiles, means, accuracies and shares, for every grouping and filter; another site's points do not count."""
    path, section = shipped
    only = FILTERS[name]
    if name == "span":
        with closing(open_for_reading(path)) as log:
            times = [row[0] for row in log.execute("SELECT time_ns FROM response ORDER BY time_ns")]
        only = Filter(times[100], times[300])

    with closing(open_for_reading(path)) as here, closing(load_responses(section, HOME, only)) as there:
        assert figures(here, by, only) == figures(there, by, only)


def test_a_span_without_rows_is_told_as_from_sqlite(shipped: tuple[Path, InfluxSection]) -> None:
    """Not as figures of nothing."""
    _, section = shipped
    only = Filter(until_ns=1)

    with closing(load_responses(section, HOME, only)) as there, pytest.raises(NothingLogged):
        figures(there, GroupBy.NONE, only)


def test_an_answer_in_many_chunks_is_whole(
    shipped: tuple[Path, InfluxSection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of 70 rows, in order of time."""
    monkeypatch.setattr(influxql, "CHUNK_ROWS", 70)
    path, section = shipped

    with closing(InfluxReader(section)) as reader:
        pieces = list(reader.ask("SELECT response_ms FROM response WHERE site = 'home'"))

    assert [70, 70, 70, 70, 70, 50] == [len(series.rows) for series in pieces]
    rows = [tuple(row) for series in pieces for row in series.rows]
    assert pairs(path, "SELECT time_ns, response_ms FROM response ORDER BY time_ns") == rows


@pytest.mark.parametrize("pieces", [0, 2])
def test_an_answer_that_breaks_off_between_two_chunks_is_no_answer(
    shipped: tuple[Path, InfluxSection], monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    """As when a server dies behind a proxy: the server says of each chunk whether another one follows."""
    whole = influxql._whole
    monkeypatch.setattr(influxql, "CHUNK_ROWS", 70)
    monkeypatch.setattr(influxql, "_whole", lambda lines: list(whole(lines))[:pieces])
    _, section = shipped

    with closing(InfluxReader(section)) as reader, pytest.raises(InfluxUnavailable, match="broke off; ask again"):
        list(reader.ask("SELECT response_ms FROM response WHERE site = 'home'"))


def test_no_server_and_a_missing_password_are_told(section: InfluxSection, tmp_path: Path) -> None:
    """With what to mend."""
    with pytest.raises(InfluxUnavailable, match="Connection refused"):
        load_responses(section.model_copy(update={"url": f"http://127.0.0.1:{free_port()}"}), HOME, Filter())
    with pytest.raises(InfluxUnavailable, match=r"401.*the token or password is not accepted"):
        load_responses(section.model_copy(update={"username": None, "password_file": None}), HOME, Filter())


def test_a_question_that_is_not_understood_is_told(section: InfluxSection) -> None:
    """With the server's own words."""
    with closing(InfluxReader(section)) as reader, pytest.raises(QueryRefused, match="error parsing query"):
        list(reader.ask("SELECT nonsense FROM"))


# -- the ready queries, as they are printed -------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *names: str) -> str:
    """What `tierwise influx queries` prints."""
    print_questions([QUERIES[name] for name in names], HOME, "1h", as_json=False)
    return capsys.readouterr().out


def shell(section: InfluxSection, text: str) -> subprocess.CompletedProcess[str]:
    """Debian's `influx`, with `text` as what is pasted into it."""
    place = urlsplit(section.url)
    command = ["influx", "-host", str(place.hostname), "-port", str(place.port), "-database", "readback"]
    login = {"INFLUX_USERNAME": USER, "INFLUX_PASSWORD": PASSWORD, "PATH": PATH}
    return subprocess.run(command, input=text, env=login, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", QUERIES)
def test_a_ready_query_pastes_into_the_shell_and_into_curl(
    shipped: tuple[Path, InfluxSection], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Comment and all, unchanged; both answer with rows."""
    _, section = shipped
    text = printed(capsys, name)
    pasted = shell(section, text)
    curl = ["curl", "-sS", "-u", f"{USER}:{PASSWORD}", "-G", f"{section.url}/query", "--data-urlencode", "db=readback"]
    got = subprocess.run(
        [*curl, "--data-urlencode", f"q={text}"], capture_output=True, text=True, timeout=60, check=False
    )

    assert (0, "") == (pasted.returncode, pasted.stderr)
    assert pasted.stdout.startswith("name: ")
    assert "ERR" not in pasted.stdout
    (result,) = json.loads(got.stdout)["results"]
    assert any(series["values"] for series in result["series"])


def test_all_ready_queries_paste_into_the_shell_at_once(
    shipped: tuple[Path, InfluxSection], capsys: pytest.CaptureFixture[str]
) -> None:
    """As `tierwise influx queries | influx` would."""
    _, section = shipped
    pasted = shell(section, printed(capsys, *QUERIES))

    assert (0, "") == (pasted.returncode, pasted.stderr)
    assert {"response", "decision", "telemetry"} == {
        line.removeprefix("name: ") for line in pasted.stdout.splitlines() if line.startswith("name: ")
    }


# -- the ready queries, each beside the same from SQLite ------------------------------------------------------

Rows = list[dict[str, Any]]


def ask(section: InfluxSection, name: str) -> Rows:
    with closing(InfluxReader(section)) as reader:
        return [row for series in reader.ask(QUERIES[name].text(HOME, "1h")) for row in series.named()]


def pairs(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(open_for_reading(path)) as log:
        return log.execute(query).fetchall()


DELIVERED = "FROM response WHERE outcome != 'failed'"


def test_slowest_devices(shipped: tuple[Path, InfluxSection]) -> None:
    """The five with the highest mean, whichever order the server gives them in."""
    path, section = shipped
    expected = pairs(path, f"SELECT node, avg(response_ms) {DELIVERED} GROUP BY 1 ORDER BY 2 DESC LIMIT 5")

    found = sorted(((row["node"], row["top"]) for row in ask(section, "slowest-devices")), key=lambda each: -each[1])

    assert [node for node, _ in expected] == [node for node, _ in found]
    assert [ms for _, ms in expected] == pytest.approx([ms for _, ms in found])


def test_p95_by_tier(shipped: tuple[Path, InfluxSection]) -> None:
    """InfluxQL takes the nearest rank, a report goes between ranks: they differ by less than a rank."""
    path, section = shipped
    found = ask(section, "p95-by-tier")

    assert {"end", "edge", "cloud"} == {row["tier"] for row in found}
    for tier in {row["tier"] for row in found}:
        times = [ms for (ms,) in pairs(path, f"SELECT response_ms {DELIVERED} AND tier = '{tier}' ORDER BY 1")]
        hours = [row["p95_ms"] for row in found if row["tier"] == tier]
        if len(hours) == 1:  # else the hour changed in the middle of the log
            assert percentile(times, 93) <= hours[0] <= percentile(times, 97)


def test_fallback_share(shipped: tuple[Path, InfluxSection]) -> None:
    """The mean of the flags is the share."""
    path, section = shipped
    expected = pairs(path, "SELECT avg(outcome = 'fallen_back'), avg(outcome = 'failed') FROM response")
    found = [row for row in ask(section, "fallback-share") if row["fallen_back_share"] is not None]

    assert found
    if len(found) == 1:
        assert expected[0] == pytest.approx((found[0]["fallen_back_share"], found[0]["failed_share"]))


def test_fallbacks_by_device(shipped: tuple[Path, InfluxSection]) -> None:
    """Exactly, per device."""
    path, section = shipped
    expected = pairs(path, "SELECT node, sum(outcome = 'fallen_back'), count(*) FROM response GROUP BY 1")

    assert sorted(expected) == sorted(
        (row["node"], row["fallen_back"], row["requests"]) for row in ask(section, "fallbacks-by-device")
    )


def test_accuracy_against_floor(shipped: tuple[Path, InfluxSection]) -> None:
    """Averages in %, per policy."""
    path, section = shipped
    query = f"SELECT policy, avg(accuracy_tenths) / 10, avg(floor_tenths) / 10 {DELIVERED} GROUP BY 1"
    expected = {policy: (accuracy, floor) for policy, accuracy, floor in pairs(path, query)}
    found = ask(section, "accuracy-against-floor")

    assert set(expected) == {row["policy"] for row in found}
    if len(found) == len(expected):
        for row in found:
            assert expected[row["policy"]] == pytest.approx((row["accuracy_percent"], row["floor_percent"]))


def test_stages(shipped: tuple[Path, InfluxSection]) -> None:
    """The stages add up to the response time, as they do in the log."""
    path, section = shipped
    expected = dict(pairs(path, f"SELECT tier, avg(response_ms) {DELIVERED} GROUP BY 1"))

    for row in ask(section, "stages"):
        stages = sum(value for name, value in row.items() if name.endswith("_ms") and name != "response_ms")
        assert expected[row["tier"]] == pytest.approx(row["response_ms"])
        assert row["response_ms"] == pytest.approx(stages)


def test_expected_response(shipped: tuple[Path, InfluxSection]) -> None:
    """Per tier and model, of all decisions."""
    path, section = shipped
    query = "SELECT tier, model, count(*), avg(predicted_ms) FROM decision GROUP BY 1, 2"
    expected = {(tier, model): (count, ms) for tier, model, count, ms in pairs(path, query)}
    found = {
        (row["tier"], row["model"]): (row["decisions"], row["predicted_ms"])
        for row in ask(section, "expected-response")
    }

    assert set(expected) == set(found)
    assert all(expected[key] == pytest.approx(found[key]) for key in expected)


def test_busiest_nodes(shipped: tuple[Path, InfluxSection]) -> None:
    """Per node."""
    path, section = shipped
    expected = pairs(path, "SELECT node, avg(cpu_percent), max(queue_length) FROM telemetry GROUP BY 1 ORDER BY 1")
    found = sorted((row["node"], row["cpu_percent"], row["longest_queue"]) for row in ask(section, "busiest-nodes"))

    assert [(node, longest) for node, _, longest in expected] == [(node, longest) for node, _, longest in found]
    assert [cpu for _, cpu, _ in expected] == pytest.approx([cpu for _, cpu, _ in found])


def test_every_ready_query_has_a_test_here() -> None:
    """A query that is added without one would be told about and never run."""
    assert [] == [name for name in QUERIES if f"test_{name.replace('-', '_')}" not in globals()]
