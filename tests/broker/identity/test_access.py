"""Who may do what: the description, the rules made of it, and what a real broker makes of those."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.access_matrix.cells import ACTORS, FAMILIES, Actor, Verb, arrives, trials
from benchmarks.access_matrix.matrix import cells, judge
from benchmarks.access_matrix.party import Party
from benchmarks.access_matrix.site import Site
from benchmarks.access_matrix.takeover import QUEUED, take_over
from broker import mosquitto
from broker.access import ACCESS, Role, table
from broker.identity.accounts import ADMIN, Account
from broker.identity.dynsec import PUBLISH, RECEIVE, SUBSCRIBE, admin_rights, rights
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId, SiteId

DOCS = Path(__file__).parents[3] / "docs"
HOME = SiteId("home")


def test_every_channel_has_a_row_for_every_role():
    """A channel that is added without a rule would be denied to all, and nobody would know why."""
    assert set(Channel) == set(ACCESS)
    assert all(set(Role) == set(row) for row in ACCESS.values())


def test_the_table_of_the_page_is_the_descriptions():
    """docs/security.md shows the description as it is."""
    assert table() in (DOCS / "security.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("role", "topic"),
    [
        (Role.END_DEVICE, "tierwise/v1/home/me/decision"),
        (Role.END_DEVICE, "tierwise/v1/home/s2/report"),
        (Role.END_DEVICE, "tierwise/v1/home/edge/infer/s2"),
        (Role.END_DEVICE, "tierwise/v1/home/s2/result"),
        (Role.SERVING_NODE, "tierwise/v1/home/me/request"),
        (Role.SERVING_NODE, "tierwise/v1/home/s2/report/ack"),
        (Role.ORCHESTRATOR, "tierwise/v1/home/s2/state"),
        (Role.OPERATOR, "tierwise/v1/home/s2/decision"),
        (Role.OBSERVER, "tierwise/v1/home/orchestrator/goal/set"),
    ],
)
def test_nobody_speaks_in_anothers_name(role, topic):
    """No rule lets that role publish there."""
    filters = [found for kind, found in rights(HOME, Account(NodeId("me"), role)) if kind == PUBLISH]

    assert not [found for found in filters if _matches(found, topic)]


def _matches(topic_filter: str, topic: str) -> bool:
    parts = list(zip(topic_filter.split("/"), topic.split("/"), strict=False))
    return topic_filter.count("/") == topic.count("/") and all(wanted in ("+", part) for wanted, part in parts)


def test_photographs_are_read_by_the_node_that_serves_alone():
    """No other role has a rule that lets images arrive."""
    readers = {
        role
        for role in Role
        for kind, found in rights(HOME, Account(NodeId("me"), role))
        if kind not in (PUBLISH, SUBSCRIBE) and "/infer/" in found
    }

    assert {Role.SERVING_NODE} == readers


def test_the_administrator_may_remove_what_is_retained():
    """Of every channel and any node, whether it should be retained or not; it reads no photographs."""
    allowed = {found for kind, found in admin_rights(HOME) if kind == PUBLISH}
    arrives_there = {found for kind, found in admin_rights(HOME) if kind == RECEIVE}

    assert {filter_for(HOME, channel) for channel in Channel} <= allowed
    assert not [found for found in arrives_there if "/infer/" in found]


def test_every_cell_comes_out_as_described(shared_site: Site) -> None:
    """Five roles, every family of topics, six verbs, two versions of MQTT, judged by what arrives."""
    tried, wrong = judge(shared_site)

    assert len(Role) * len(FAMILIES) * len(Verb) * 2 == cells(tried)
    assert cells(tried) >= 840
    assert [] == [str(item) for item in wrong]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([{"acltype": PUBLISH, "topic": "tierwise/v1/matrix/+/decision", "allow": True}], {("decision", True)}),
        ([], {("telemetry", False)}),
    ],
    ids=["a right too many", "a right too few"],
)
def test_a_wrong_rule_is_noticed(tmp_path, changed, expected):
    """The judge of the matrix sees what must not arrive, and misses what should."""
    from benchmarks.access_matrix.cells import SITE
    from benchmarks.access_matrix.matrix import accounts_for
    from benchmarks.access_matrix.site import running_site

    actor = Actor(Role.END_DEVICE, "5")
    with running_site(tmp_path, SITE, accounts_for([actor])) as site:
        with site.control() as control:
            control.run([{"command": "modifyRole", "rolename": actor.name, "acls": changed}])
        _, wrong = judge(site, [actor])

    assert expected <= {(str(item.trial.family), item.arrived) for item in wrong}


def test_a_cell_holds_what_is_tried_on_own_and_on_others_topics():
    """One trial of each, so that a rule that is too wide is as wrong as one that is too narrow."""
    tried = [trial for trial in trials(ACTORS[0], Verb.PUBLISH) if trial.family is Channel.REQUEST]

    assert [(True, True), (False, False)] == [(trial.own, arrives(trial)) for trial in tried]


def test_another_client_id_takes_nothing_over(own_site: Site) -> None:
    """The victim stays connected; the queue of one that is away stays its own."""
    done = take_over(own_site, NodeId("s1"), NodeId("s2"), NodeId("orchestrator"))

    assert (0, 0, QUEUED) == (done.victims_disconnected, done.messages_stolen, done.left_for_victim)


def test_without_names_as_client_ids_a_takeover_succeeds(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above can fail, and that line of the configuration is what stops it."""
    line = "use_username_as_clientid true\n"
    rendered = mosquitto.render
    monkeypatch.setattr(mosquitto, "render", lambda settings: rendered(settings).replace(line, ""))
    own_site.process.start()
    victim, thief = (Party(own_site.endpoint(NodeId(name)), client_id="s1") for name in ("s1", "s2"))
    with victim, thief:
        alive = victim.is_alive()

    assert not alive


def test_the_administrator_is_no_account_of_the_site(shared_site: Site) -> None:
    """Its name is not among those that nodes and people may have."""
    assert ADMIN not in {account.name for account in shared_site.wanted.accounts}
