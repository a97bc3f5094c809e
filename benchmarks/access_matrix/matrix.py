"""Tries every cell of the access matrix on a real broker, and judges it by what arrives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.access_matrix.cells import (
    ACTORS,
    BYSTANDER,
    SERVING,
    Actor,
    Outside,
    Trial,
    Verb,
    arrives,
    trials,
    wildcards,
)
from benchmarks.access_matrix.party import Party
from benchmarks.access_matrix.site import Site
from broker.access import Role
from broker.identity.accounts import Account
from broker.identity.dynsec import PUBLISH, RECEIVE, SUBSCRIBE
from broker.vocabulary import NodeId

WITNESS = NodeId("witness")  # sees and says everything; its rights are given to it while the broker runs
FENCE = b"fence"
EVERYTHING = ("#", "$SYS/#")
AT_ONCE = 4  # actors that say things at the same time


@dataclass(frozen=True, slots=True)
class Wrong:
    """A trial whose outcome is not what the description says."""

    trial: Trial
    arrived: bool

    def __str__(self) -> str:
        actor, came = self.trial.actor, "arrived" if self.arrived else "did not arrive"
        return f"{actor.role}, MQTT {actor.version}, {self.trial.verb}, {self.trial.topic}: {came}"


def accounts_for(actors: Sequence[Actor] = ACTORS) -> list[Account]:
    """All that `judge` needs."""
    others = [(BYSTANDER, Role.END_DEVICE), (SERVING, Role.SERVING_NODE), (WITNESS, Role.OPERATOR)]
    return [Account(actor.name, actor.role) for actor in actors] + [Account(name, role) for name, role in others]


def judge(site: Site, actors: Sequence[Actor] = ACTORS) -> tuple[list[Trial], list[Wrong]]:
    """Try everything; all trials, and those that came out wrong."""
    _open_all_doors_to_the_witness(site)
    with Party(site.endpoint(WITNESS)) as witness:
        reads = (Verb.SUBSCRIBE, Verb.WILDCARD, Verb.SHARED)
        seen = {verb: _try_reading(site, actors, witness, verb) for verb in reads}
        witness.subscribe(list(EVERYTHING), qos=1)
        for verb in (Verb.PUBLISH, Verb.RETAINED, Verb.WILL):
            seen[verb] = _try_saying(site, actors, witness, verb)
    tried = [trial for verb in Verb for actor in actors for trial in trials(actor, verb)]
    return tried, [Wrong(t, t.name in seen[t.verb]) for t in tried if (t.name in seen[t.verb]) != arrives(t)]


def _open_all_doors_to_the_witness(site: Site) -> None:
    kinds = (PUBLISH, RECEIVE, SUBSCRIBE)
    acls = [{"acltype": kind, "topic": topic, "allow": True} for kind in kinds for topic in EVERYTHING]
    with site.control() as control:
        control.run([{"command": "modifyRole", "rolename": WITNESS, "acls": acls}])


def _try_reading(site: Site, actors: Sequence[Actor], witness: Party, verb: Verb) -> set[str]:
    """The trials of which something arrived, at those who subscribed."""
    own_trials = {actor: list(trials(actor, verb)) for actor in actors}
    with ExitStack() as stack:
        parties = {a: stack.enter_context(Party(site.endpoint(a.name), a.version)) for a in actors}
        filters = {actor: _filters(own_trials[actor], actor, verb) for actor in actors}
        for actor, party in parties.items():
            party.subscribe(filters[actor])
        topics = {trial.topic for of_one in own_trials.values() for trial in of_one if not trial.topic.startswith("$")}
        payload = verb.encode()
        witness.publish((topic, payload) for topic in sorted(topics))
        with site.control() as control:
            control.run([{"command": "listRoles"}])  # the answer to it goes to whoever reads $CONTROL
        arrived: set[str] = set()
        for actor, party in parties.items():
            party.unsubscribe(filters[actor])
            heard = {topic for topic, _, _ in party.received}
            arrived |= {trial.name for trial in own_trials[actor] if trial.topic in heard}
    return arrived


def _filters(of_one: list[Trial], actor: Actor, verb: Verb) -> list[str]:
    if verb is Verb.WILDCARD:
        return wildcards(actor)
    literal = [trial.topic for trial in of_one]
    return literal if verb is Verb.SUBSCRIBE else [f"$share/g/{f}" for f in [*literal, *wildcards(actor)]]


def _try_saying(site: Site, actors: Sequence[Actor], witness: Party, verb: Verb) -> set[str]:
    """The trials whose message arrived at the witness, with the retain flag where it was set; or did something."""

    def say(actor: Actor) -> None:
        own_trials = list(trials(actor, verb))
        party = Party(site.endpoint(actor.name), actor.version)
        if verb is Verb.WILL:
            for trial in own_trials:
                party.die_with_will(trial.topic, _payload(trial))
        with party:  # whoever connects again under one name ends the former session, and with it comes the last will
            if verb is not Verb.WILL:
                party.publish(((t.topic, _payload(t)) for t in own_trials), retain=verb is Verb.RETAINED)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(say, actors))
    _wait_for_all(witness, FENCE + verb.encode())
    if verb is Verb.RETAINED:  # whoever comes later is sent what was kept
        witness.unsubscribe(list(EVERYTHING))
        witness.subscribe(list(EVERYTHING), qos=1)
        _wait_for_all(witness, FENCE + b"kept")
    wanted = verb is Verb.RETAINED
    arrived = {payload.decode(errors="replace") for _, payload, retain in witness.received if retain is wanted}
    return arrived | _commands_obeyed(site)


def _wait_for_all(witness: Party, fence: bytes) -> None:
    """Return when the witness has heard all that the broker took before."""
    witness.publish([("fence", fence)])
    witness.wait_for(fence)


def _payload(trial: Trial) -> bytes:
    if trial.family is not Outside.CONTROL:
        return trial.name.encode()
    return json.dumps({"commands": [{"command": "createRole", "rolename": trial.name}]}).encode()


def _commands_obeyed(site: Site) -> set[str]:
    """Names of trials that made the broker's accounts change."""
    with site.control() as control:
        answer = control.run([{"command": "listRoles"}])[0]
    return {name for name in answer["data"]["roles"] if "~" in name}


def cells(tried: Iterable[Trial]) -> int:
    """How many cells these trials belong to."""
    return len({trial.cell for trial in tried})
