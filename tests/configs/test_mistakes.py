"""What a person reads about each mistake: the right place, and how to mend it."""

from __future__ import annotations

import pytest

from configs.loader import ConfigError, loads
from configs.node import NodeConfig
from configs.orchestrator import OrchestratorConfig
from configs.section import Section

GOOD = "version: 1\nsite: home\nnode: s1\ntier: end\n"

TEN = """\
version: 1
site: My Home
node: 7
tier: edgy
broker:
  hots: 10.0.0.2
  port: "1883"
models: [d0, d1]
service
  queue_length: 9
monitoring:
  period_s: 500ms
  heartbeat_ms: 1000
  weak_rtt_ms: -3
emulate: {reference_ms: {d0: 10}}
log_level: info
log_level: debug
"""


def problems_of(text: str, schema: type[Section] = NodeConfig) -> list[str]:
    """The lines that a person reads, without the name of the file."""
    with pytest.raises(ConfigError) as caught:
        loads(text, schema, "f")
    return [str(problem).removeprefix("f:") for problem in caught.value.problems]


def test_ten_different_mistakes_give_ten_messages_each_at_its_place() -> None:
    """Wrong name, number for text, unknown word, unknown key, quoted number, list for a mapping, missing colon..."""
    assert [
        "2:7 site: 'My Home' is not a site id: use 1 to 63 of a-z, 0-9 and -, with no - at either end",
        "3:7 node: must be text, not 7: YAML reads 7 as a number; put it in quotes: '7'",
        "4:7 tier: must be end, edge or cloud, not 'edgy', did you mean edge?",
        "6:3 broker.hots: is not a known key, did you mean host?",
        "7:9 broker.port: must be a whole number from 1 to 65535, not '1883': remove the quotes: 1883"
        " (default 1883; that the broker listens on)",
        "8:9 models: must be a mapping (keys with values, indented below it), not a list",
        "9:1 is not YAML: lacks a colon: write `key: value`, with a blank after the colon",
        "12:13 monitoring.period_s: must be a number of seconds from 0.1 to 3600, not '500ms': write the number alone,"
        " in seconds: 0.5 (default 1; between two messages of telemetry)",
        "13:3 monitoring.heartbeat_ms: is not a known key, did you mean heartbeat_s? It is in seconds",
        "14:16 monitoring.weak_rtt_ms: must be a number of milliseconds above 0 and up to 86400000, not -3"
        " (default 15; round trip to the broker from which the link counts as weak)",
        "17:1 log_level: is given twice",
    ] == problems_of(TEN)


@pytest.mark.parametrize(
    ("below", "told"),
    [
        ("broker:\n\thost: a\n", "6:1 is not YAML: is a tab: indent with blanks"),
        ("broker:\n  host: a\n  port 1884\n  keepalive_s: 5\n", "7:3 is not YAML: lacks a colon"),
        ("broker:\n  host:a\n  port: 1\n", "6:7 is not YAML: lacks a blank after the colon"),
        ("broker:\n  host: a\n    port: 5\n", "7:5 is not YAML: is indented differently from the keys beside it"),
        ("broker:\n    host: a\n  port: 5\n", "7:3 is not YAML: is indented differently from the keys beside it"),
        ("broker: {host: a\nlog_level: info\n", "5:9 is not YAML: opens a bracket that is not closed"),
        ("models: {pool: [d0, d1}\n", "5:16 is not YAML: opens a bracket that is not closed"),
        ("broker: {port: 5}}\n", "5:18 is not YAML: has a bracket too many"),
        ("broker: {host: 'a}\nlog_level: info\n", "5:16 is not YAML: opens a quote that is never closed"),
        ("log_level: in: fo\n", "5:14 is not YAML: is a second colon in one line"),
        ("log_level: @info\n", "5:12 is not YAML: starts with @, which YAML reserves: put the value in quotes"),
        ("log_level: *info\n", "5:12 is not YAML: refers to an anchor that does not exist"),
        ('log_level: "\\info"\n', "5:13 is not YAML: has a backslash in double quotes"),
        ("---\nnode: s2\n", "5:1 is not YAML: begins a second document"),
        ("log_level: \x07\n", "5:12 is not YAML: is a character that YAML does not allow"),
        ("- d0\n", "5:1 is not YAML: is an entry of a list where keys are expected"),
        ("models: &m {threads: 0}\nservice: {<<: *m}\n", "6:11 merges another mapping, which is not read here"),
        ("broker:\n  host: C: a\n", "6:10 is not YAML: is a second colon in one line"),
        ("log_level: INFO\n", "5:12 log_level: must be debug, info, warning or error, not 'INFO', did you mean info?"),
        ("log_level: !!timestamp x\n", "5:12 log_level: is no date: remove its tag"),
        ("log_level: !secret x\n", "5:12 log_level: has a tag (!secret), which is not allowed here"),
    ],
)
def test_a_syntax_error_is_told_in_plain_words_where_it_is(below: str, told: str) -> None:
    """Exactly one message, and it points at the mistake, not at where a parser gave up."""
    found = problems_of(GOOD + below)

    assert 1 == len(found), found
    assert found[0].startswith(told), found


def test_what_stands_behind_a_syntax_error_is_judged_too() -> None:
    """Three lines that are no YAML, and four mistakes around them: all seven, with columns as in the file."""
    text = GOOD + (
        "broker:\n\tport: 0\n\tkeepalive_s: 1\nmodels\n  pool: 3\nservice:\n  workers: 0\n    queue_length: 1\n"
        "log_levl: info\n"
    )

    assert [
        "6:1 is not YAML: is a tab: indent with blanks (lines 6 to 7)",
        "6:8 broker.port: must be a whole number from 1 to 65535, not 0 (default 1883; that the broker listens on)",
        "7:15 broker.keepalive_s: must be a whole number of seconds from 2 to 60, not 1 (default 5; a silent peer is"
        " noticed after 1.5 to 2 of these)",
        "8:1 is not YAML: lacks a colon: write `key: value`, with a blank after the colon",
        "12:5 is not YAML: is indented differently from the keys beside it: use the same number of blanks",
        "13:1 log_levl: is not a known key, did you mean log_level?",
    ] == [line for line in problems_of(text) if "workers" not in line]
    assert any(
        line.startswith("11:12 service.workers: must be a whole number from 1 to 256") for line in problems_of(text)
    )


def test_a_key_on_a_line_that_is_no_yaml_is_not_missing() -> None:
    """`node s1` lacks its colon, and nothing more is said of it."""
    assert ["3:1 is not YAML: lacks a colon: write `key: value`, with a blank after the colon"] == problems_of(
        GOOD.replace("node: s1", "node s1")
    )


@pytest.mark.parametrize(
    ("below", "told"),
    [
        ("broker:\n", "5:1 broker: must be a mapping (keys with values, indented below it), not empty: give"),
        ("broker: localhost\n", "5:9 broker: must be a mapping (keys with values, indented below it), not 'localhost'"),
        ("broker:\n  port 1884\n", "6:3 broker: must be a mapping (keys with values, indented below it), not 'port"),
        ("broker:\n- host: a\n", "5:1 broker: must be a mapping (keys with values, indented below it), not a list"),
        ("broker: {host: yes}\n", "5:16 broker.host: must be text, not yes: YAML reads yes as true or false"),
        ("broker: {host: 2024-01-01}\n", "5:16 broker.host: must be text, not 2024-01-01: YAML reads 2024-01-01"),
        ("broker: {host: ''}\n", "5:16 broker.host: must not be empty"),
        ("broker: {port: yes}\n", "5:16 broker.port: must be a whole number from 1 to 65535, not yes"),
        ("broker: {port: 18.5}\n", "5:16 broker.port: must be a whole number from 1 to 65535, not 18.5: leave out"),
        ("broker: {port: 18:33}\n", "5:16 broker.port: is read by YAML as 1113, a number to base 60"),
        ("broker: {port: 01234}\n", "5:16 broker.port: is read by YAML as 668, a number to base 8"),
        ("monitoring: {period_s: 1,5}\n", "5:26 monitoring.5: is not a known key; known here: period_s, heartbeat_s"),
        ("monitoring: {period_s: '1,5'}\n", "5:24 monitoring.period_s: must be a number of seconds from 0.1 to 3600, "
         "not '1,5': write a point: 1.5"),
        ("monitoring: {weak_rtt_ms: 1e1}\n", "5:27 monitoring.weak_rtt_ms: must be a number of milliseconds above 0 "
         "and up to 86400000, not '1e1': YAML takes 1e1 for text; write 10"),
        ("monitoring: {period_s: 2 min}\n", "5:24 monitoring.period_s: must be a number of seconds from 0.1 to 3600, "
         "not '2 min': write the number alone, in seconds: 120"),
        ("models: {memory_limit_mb: 1 GB}\n", "5:27 models.memory_limit_mb: must be a whole number of megabytes at "
         "least 16, not '1 GB': write the number alone, in megabytes: 1000"),
        ("models: {pool: d0}\n", "5:16 models.pool: must be a list ([one, another], or a line with - for each), not"),
        ("models: {pool: []}\n", "5:16 models.pool: must have at least 1 entries"),
        ("port: 1884\n", "5:1 port: is not a known key here, did you mean broker.port? It stands under broker:"),
        ("requester: {images: {widht_px: 3}}\n", "5:22 requester.images.widht_px: is not a known key, did you mean "
         "width_px?"),
        ("emulate: {reference_ms: {D0: 3}}\n", "5:26 emulate.reference_ms.D0: 'D0' is not a model name"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_what_may_stand_there(below: str, told: str) -> None:
    """The expected kind in words, its bounds and unit, and the value to write where that is clear."""
    found = problems_of(GOOD + below)

    assert any(line.startswith(told) for line in found), found


def test_rules_over_several_keys_are_all_told_beside_other_mistakes() -> None:
    """Two rules and a wrong value: none hides another, and each points at the key that it is about."""
    text = GOOD.replace("end", "edge") + (
        "models: {pool: [d0, d1]}\nrequester:\n  mode: periodic\nemulate:\n  reference_ms: {d0: 10}\nlog_level: loud\n"
    )

    assert [
        "7:9 requester.mode: must be none on tier edge: only end devices ask",
        "9:17 emulate.reference_ms: lacks d1 of models.pool",
        "10:12 log_level: must be debug, info, warning or error, not 'loud' (default info; what is logged, from this "
        "severity on)",
    ] == problems_of(text)


def test_a_rule_is_not_judged_with_a_value_that_the_file_does_not_have() -> None:
    """A deadline that is no number says nothing about whether the reward lies above it."""
    text = "version: 1\nsite: home\nrounds: {deadline_ms: soon}\nreward: {maximum_response_ms: 4000}\n"

    [problem] = problems_of(text, OrchestratorConfig)

    assert problem.startswith("3:23 rounds.deadline_ms: must be a number of milliseconds")


def test_a_rule_points_at_what_the_file_says_of_it() -> None:
    """The reward stands at its default, so the deadline that does not fit it is shown."""
    [problem] = problems_of("version: 1\nsite: home\nrounds: {deadline_ms: 20000}\n", OrchestratorConfig)

    assert problem.startswith("3:23 reward.maximum_response_ms (10000) must be above rounds.deadline_ms (20000)")


def test_a_file_of_a_newer_version_is_told_as_such_and_nothing_else() -> None:
    """What else is wrong with it may be right there."""
    assert [
        "1:10 version: is 2, and this Tierwise knows versions up to 1: the file is of a newer one; update this"
    ] == (problems_of(GOOD.replace("version: 1", "version: 2") + "new_key: 3\n"))


def test_a_version_that_is_no_number_is_told() -> None:
    """Also where Python would take it for 1."""
    for version in ("yes", "'1'", "one"):
        [problem] = problems_of(GOOD.replace("version: 1", f"version: {version}"))
        assert problem.startswith("1:10 version: must be 1, not "), problem


def test_a_version_that_never_was_is_told() -> None:
    """There is nothing that turns version 0 into another."""
    assert ["1:10 version: is 0, which no Tierwise reads: write version: 1"] == problems_of(
        GOOD.replace("version: 1", "version: 0")
    )


def test_of_very_many_mistakes_the_first_hundred_are_told_and_the_others_counted() -> None:
    """Looking for what each of two thousand keys may have meant would take minutes."""
    text = GOOD + "".join(f"key{number}: 1\n" for number in range(2_000))

    found = problems_of(text)

    assert 101 == len(found)
    assert "2005:1 there are 1900 more mistakes: mend those above first" == found[-1]


def test_what_is_required_is_not_to_be_left_out() -> None:
    """Only a key that has a default may go."""
    assert [
        "2:1 site: must be text, not empty: give it a value",
        "5:1 monitoring: must be a mapping (keys with values, indented below it), not empty: give it a value, or leave"
        " the key out",
    ] == problems_of(GOOD.replace("site: home", "site:") + "monitoring:\n")


def test_a_quoted_version_lacks_nothing_but_its_quotes() -> None:
    """It reads like the right one."""
    assert ["1:10 version: must be 1, not '1': remove the quotes: 1"] == problems_of(GOOD.replace("1", '"1"', 1))


def test_a_section_of_which_nothing_is_yaml_is_told_once() -> None:
    """Empty it only is without the lines that are told already; one that is empty in the file is told."""
    told = problems_of(GOOD + "broker:\n  host: C: a\nmonitoring:\nservice: {workers: 1}\n")

    assert ["6:10 is not YAML", "7:1 monitoring"] == [line.split(": ")[0] for line in told]


def test_a_single_key_without_its_blank_is_told_as_such() -> None:
    """YAML takes the line for a text, so that its section is one."""
    assert [
        "6:3 broker: must be a mapping (keys with values, indented below it), not 'host:a': is a blank missing after"
        " host:?"
    ] == problems_of(GOOD + "broker:\n  host:a\n")


@pytest.mark.parametrize("host", ["10.0.0.2:1883", "mqtt://10.0.0.2", "a b", "edge.local/"])
def test_more_than_a_host_is_no_host(host: str) -> None:
    """Else the agent would look for a machine of that name for ever."""
    assert [
        f"5:16 broker.host: must be a name or an address and nothing else, not {host!r}: the port has a key of its own"
    ] == problems_of(GOOD + f"broker: {{host: '{host}'}}\n")


@pytest.mark.parametrize("host", ["10.0.0.2", "edge", "my_broker", "raspberrypi.local", "::1", "fe80::1%eth0"])
def test_names_and_addresses_are_hosts(host: str) -> None:
    """Of either version of IP."""
    assert host == loads(GOOD + f"broker: {{host: '{host}'}}\n", NodeConfig, "f").broker.host


def test_a_quoted_floor_is_told_to_lose_its_quotes() -> None:
    """Also where a rule of ours judges the value, and not its type."""
    assert [
        "3:24 goal.accuracy_floor: must be min, max, or a percentage from 0 to 100: remove the quotes: 89"
    ] == problems_of('version: 1\nsite: home\ngoal: {accuracy_floor: "89"}\n', OrchestratorConfig)


def test_a_text_that_is_hardly_yaml_says_where_reading_ended() -> None:
    """Twenty lines are told; whoever mends them expects more."""
    told = problems_of(GOOD + "bad line\n" * 30)

    assert 20 == len(told)
    assert (
        "24:1 is not YAML: lacks a colon: write `key: value`, with a blank after the colon; what stands behind"
        in (told[-1])
    )
