"""What of a site somebody wants to watch, as MQTT filters. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from broker.errors import InvalidName
from broker.topics import Channel, filter_below, filter_for, filter_for_everything, site_part
from broker.vocabulary import NodeId, SiteId, node_id
from tierwise.errors import WrongFilter

FORMS = "a node (s1), a channel (telemetry), both (s1/telemetry), or an MQTT filter below the site (+/state, s1/#)"


def filters_of(site: SiteId, text: str) -> list[str]:
    """The MQTT filters of FILTER, for people. Raises WrongFilter."""
    below = text.removeprefix(site_part(site))
    if not below or len(below) > 1000 or "\0" in below:
        raise WrongFilter(f"{text!r} is no filter; it is {FORMS}")
    if "+" in below or "#" in below:
        return [_mqtt_filter(site, below, text)]
    if below in set(Channel):
        return [filter_for(site, Channel(below))]
    name, _, rest = below.partition("/")
    try:
        node = node_id(name)
    except InvalidName as error:
        raise WrongFilter(f"{error}. A filter is {FORMS}{_meant(below)}") from error
    if not rest:
        return [filter_below(site, f"{node}/#")]
    channel, _, device = rest.partition("/")
    if channel == Channel.INFER and device:
        return [filter_below(site, below)]
    if rest not in set(Channel):
        raise WrongFilter(f"{rest!r} is no channel{_meant(rest)}; there are {', '.join(Channel)}")
    return [filter_for(site, Channel(rest), node)]


def filters_for(site: SiteId, nodes: Sequence[NodeId], channels: Sequence[Channel]) -> list[str]:
    """Filters for each of `nodes` and each of `channels`; none of a kind is all of them."""
    if not channels:
        return [filter_below(site, f"{node}/#") for node in dict.fromkeys(nodes)] or [filter_for_everything(site)]
    named: list[NodeId | None] = [*dict.fromkeys(nodes)] or [None]
    return [filter_for(site, channel, node) for node in named for channel in dict.fromkeys(channels)]


def channel_meant(text: str | None) -> str:
    """`, did you mean the channel telemetry?` where a node id looks like one."""
    return "" if text is None or text in set(Channel) else _meant(text).replace("did you mean", "did you mean channel")


def _mqtt_filter(site: SiteId, below: str, text: str) -> str:
    levels = below.split("/")
    for place, level in enumerate(levels):
        if "#" in level and (level != "#" or place != len(levels) - 1):
            raise WrongFilter(f"{text!r} is no MQTT filter: # stands alone, as the last level")
        if "+" in level and level != "+":
            raise WrongFilter(f"{text!r} is no MQTT filter: + stands for one whole level")
    return filter_below(site, below)


def _meant(text: str) -> str:
    close = difflib.get_close_matches(text, [str(channel) for channel in Channel], 1)
    return f", did you mean {close[0]}?" if close else ""
