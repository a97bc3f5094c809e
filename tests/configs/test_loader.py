"""The loader tells every mistake of a file at once, with its place, and never fails otherwise."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.loader import ConfigError, load, loads
from configs.node import NodeConfig
from configs.orchestrator import OrchestratorConfig

GOOD = "version: 1\nsite: home\nnode: s1\ntier: end\n"


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, NodeConfig, "f.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_a_good_file_gives_its_settings_and_the_defaults() -> None:
    """What the file leaves out has the schema's default."""
    settings = loads(GOOD + "service: {queue_length: 3}\n", NodeConfig, "f.yaml")

    assert (3, 1.0) == (settings.service.queue_length, settings.monitoring.period_s)


def test_all_mistakes_are_told_at_once_each_with_its_line_and_column() -> None:
    """Six mistakes give six problems, in the order of the file."""
    text = (
        "version: 1\nsite: My Home\nnod: s1\ntier: edgy\n"
        "broker:\n  prot: 1884\n  port: 70000\nmodels: {pool: [d0, '../x']}\n"
    )

    assert [
        "f.yaml:1:1 node: is required",
        "f.yaml:2:7 site: 'My Home' is not a site id: use 1 to 63 of a-z, 0-9 and -, with no - at either end",
        "f.yaml:3:1 nod: is not a known key, did you mean node?",
        "f.yaml:4:7 tier: must be end, edge or cloud, not 'edgy', did you mean edge?",
        "f.yaml:6:3 broker.prot: is not a known key, did you mean port?",
        "f.yaml:7:9 broker.port: must be a whole number from 1 to 65535, not 70000"
        " (default 1883; that the broker listens on)",
        "f.yaml:8:21 models.pool.1: '../x' is not a model name: use 1 to 32 of a-z, 0-9, - and _",
    ] == problems_of(text)


def test_a_key_given_twice_is_a_mistake() -> None:
    """YAML would silently take the last; we do not."""
    assert ["f.yaml:5:1 tier: is given twice"] == problems_of(GOOD + "tier: edge\n")


def test_a_syntax_error_has_its_place() -> None:
    """Text that is no YAML is told as such, not raised as PyYAML's error."""
    [problem] = problems_of(GOOD + "broker: {host: a\n")

    assert problem.startswith("f.yaml:5:9 is not YAML: opens a bracket that is not closed")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- a\n- b\n", "holds no keys"),
        ("just words\n", "holds no keys"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(text: str, what: str) -> None:
    """Empty files, lists and bare words are no configuration, and the message says how to come to one."""
    [problem] = problems_of(text)
    assert f"f.yaml:1:1 {what}: write one `key: value` a line, or let `tierwise config new` do it" == problem


def test_a_file_that_refers_to_itself_is_refused() -> None:
    """An anchor inside its own value ends in a problem, not in endless recursion."""
    assert 1 <= len(problems_of(GOOD + "broker: &a\n  host: *a\n"))


def test_an_emulated_node_needs_a_time_for_every_model_of_its_pool() -> None:
    """A rule over two keys is checked too."""
    text = GOOD + "models: {pool: [d0, d1]}\nemulate: {reference_ms: {d0: 10}}\n"

    assert ["f.yaml:6:25 emulate.reference_ms: lacks d1 of models.pool"] == problems_of(text)


@pytest.mark.parametrize(
    ("floor", "expected"), [("min", 0.0), ("max", 89.9), ("85", 85.0), ("80.5", 80.5), ("0", 0.0), ("93.2", 93.2)]
)
def test_a_floor_is_min_max_or_a_percentage(floor: str, expected: float) -> None:
    """The paper's words and plain percentages are the same setting."""
    text = f"version: 1\nsite: home\ngoal: {{accuracy_floor: {floor}}}\n"

    assert expected == loads(text, OrchestratorConfig, "f.yaml").goal.accuracy_floor


@pytest.mark.parametrize("floor", ["100.1", "-1", "85.05", "high", "true", ".nan", ".inf"])
def test_a_floor_that_cannot_be_met_or_counted_is_refused(floor: str) -> None:
    """Above 100, below 0, with two decimals, or no number. What a site's models reach the orchestrator knows."""
    text = f"version: 1\nsite: home\ngoal: {{accuracy_floor: {floor}}}\n"

    with pytest.raises(ConfigError, match=r"f\.yaml:3:24 goal\.accuracy_floor: must "):
        loads(text, OrchestratorConfig, "f.yaml")


@pytest.mark.parametrize(
    ("maximum_ms", "said"), [("5000", "must be above rounds.deadline_ms"), (".inf", "must be a number of milliseconds")]
)
def test_a_broken_floor_must_be_worth_less_than_any_response(maximum_ms: str, said: str) -> None:
    """Equation 4's constant lies above the deadline, with which a missing response counts, and can be sent as JSON."""
    text = f"version: 1\nsite: home\nreward: {{maximum_response_ms: {maximum_ms}}}\n"

    with pytest.raises(ConfigError, match=said):
        loads(text, OrchestratorConfig, "f.yaml")


def test_a_missing_file_is_told_in_one_line(tmp_path: Path) -> None:
    """No traceback for a wrong path."""
    with pytest.raises(ConfigError, match=r"absent\.yaml:1:1 cannot be read: No such file or directory"):
        load(tmp_path / "absent.yaml", NodeConfig)


def test_a_file_that_is_not_text_is_told_in_one_line(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are named with their place, in characters of their line."""
    file = tmp_path / "binary.yaml"
    file.write_bytes("version: 1\n# é\nsite: é ".encode() + b"\xff\xfe")

    with pytest.raises(ConfigError, match=r"binary\.yaml:3:9 is not UTF-8: let your editor save"):
        load(file, NodeConfig)


def test_a_file_without_an_end_is_not_read_to_its_end() -> None:
    """A device has no size that one could look at first."""
    with pytest.raises(ConfigError, match="/dev/zero:1:1 is larger than 1000000 bytes"):
        load(Path("/dev/zero"), NodeConfig)


def test_lines_may_end_and_a_file_may_begin_as_other_systems_write_them(tmp_path: Path) -> None:
    """Carriage returns and a byte order mark do not move a mistake from its place."""
    file = tmp_path / "windows.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + (GOOD + "broker:\n  prot: 3\n").replace("\n", "\r\n").encode())

    with pytest.raises(ConfigError, match=r"windows\.yaml:6:3 broker\.prot: is not a known key, did you mean port\?"):
        load(file, NodeConfig)


def test_aliases_that_multiply_are_refused_before_they_do() -> None:
    """A page of text can stand for 10^9 entries."""
    names = "abcdefghi"
    text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{former}'] * 10)}]\n" for former, name in pairwise(names)
    )

    [problem] = problems_of(GOOD + text)
    assert problem.startswith("f.yaml:1:1 is too large once its aliases (*) are replaced")


def test_a_file_of_another_kind_is_told_as_such_and_not_key_by_key() -> None:
    """Whoever names the wrong file reads one line."""
    assert [
        "f.yaml:1:1 is a file of kind orchestrator, and one of kind node is read here: name another file"
    ] == problems_of("version: 1\nsite: home\nnode: o\ngoal: {policy: random}\nrounds: {window_ms: 3}\n")


def test_one_key_of_another_kind_is_a_wrong_key() -> None:
    """A node's file stays one."""
    [problem] = problems_of(GOOD + "goal: {policy: random}\n")

    assert problem.startswith("f.yaml:5:1 goal: is not a known key; known here: version, ")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever a file holds, the loader ends in settings or in a ConfigError."""
    try:
        loads(text, NodeConfig, "f.yaml")
    except ConfigError as error:
        assert error.problems


LINES = (Path(__file__).parents[2] / "configs" / "device.yaml").read_text(encoding="utf-8").splitlines(keepends=True)


@given(
    st.integers(0, len(LINES) - 1),
    st.sampled_from(["", "  ", "x: 1\n", "- \n", "{\n", "? \n", "*a\n", "<<: 3\n", "!!python/object:x {}\n", "\t\n"]),
    st.integers(0, 40),
)
def test_a_shipped_file_with_a_line_spoilt_is_read_or_refused(line: int, inserted: str, cut: int) -> None:
    """Mutations of a real file never end in another error."""
    spoilt = "".join([*LINES[:line], LINES[line][:cut], inserted, *LINES[line + 1 :]])
    try:
        loads(spoilt, NodeConfig, "f.yaml")
    except ConfigError as error:
        assert error.problems
