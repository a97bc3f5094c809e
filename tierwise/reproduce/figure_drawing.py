"""Draws figures 1 and 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from broker.vocabulary import Link, Tier
from tierwise.reproduce.artifact import INK
from tierwise.reproduce.figure_points import BASELINE, NAMES, OPTIMUM, Point
from tierwise.reproduce.published import FLOORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TIER_COLORS = {Tier.END: "#9aa5b1", Tier.EDGE: "#d98f3d", Tier.CLOUD: "#8d6cab"}
BASELINE_COLOR = "#444444"
BLUES = ("#c6dcec", "#93bfdd", "#5f9fc9", "#2f6f9f", "#123f63")  # of five floors, or one to five users
LABELS_ELSEWHERE = {"d4": ((4, -10), "left"), "d0": ((-7, -1), "right")}  # offset in points, and alignment
WIDTH = 0.094  # of a bar of figure 5: nine of them, and a gap


def draw_figure1(
    figure: Figure,
    network: Mapping[Link, Mapping[Tier, float]],
    users: Mapping[Tier, Sequence[float]],
    points: Sequence[Point],
) -> None:
    """Three panels: network, users, accuracy."""
    panels = figure.subplots(1, 3, width_ratios=[1.0, 1.0, 1.5])
    _draw_network(panels[0], network)
    _draw_users(panels[1], users)
    _draw_accuracy(panels[2], points)


def _draw_network(panel: Axes, network: Mapping[Link, Mapping[Tier, float]]) -> None:
    for place, tier in enumerate(Tier):
        heights = [network[link][tier] for link in Link]
        places = [at + 0.27 * (place - 1) for at in range(len(heights))]
        bars = panel.bar(places, heights, 0.25, color=TIER_COLORS[tier], label=NAMES[tier])
        panel.bar_label(bars, fmt="%.0f", fontsize=7.5, padding=2)
    panel.set_xticks(range(len(Link)), [f"{link} network" for link in Link])
    panel.set_title("(a) one user, d0")
    panel.set_ylabel("response time, ms")
    panel.set_ylim(0, 1.22 * max(max(times.values()) for times in network.values()))
    panel.grid(axis="x", visible=False)
    panel.legend(loc="upper left", ncols=3, columnspacing=1.0, handlelength=1.2)


def _draw_users(panel: Axes, users: Mapping[Tier, Sequence[float]]) -> None:
    for tier, times in users.items():
        numbers = range(1, len(times) + 1)
        panel.plot(numbers, times, "o-", color=TIER_COLORS[tier], label=f"{NAMES[tier]} only")
    panel.set_xticks(range(1, 1 + max(map(len, users.values()))))
    panel.set_xlabel("users")
    panel.set_ylim(bottom=0)
    panel.set_ylabel("average response time, ms")
    panel.set_title("(b) d0 on one layer")
    panel.legend(loc="upper left")


def _draw_accuracy(panel: Axes, points: Sequence[Point]) -> None:
    numbers = sorted({point.users for point in points})
    for number, color in zip(numbers, BLUES, strict=False):
        curve = [point for point in points if (point.users, point.strategy) == (number, OPTIMUM)]
        label = f"optimum, {number} user{'s' if number > 1 else ''}"
        panel.step([p.accuracy for p in curve], [p.ms for p in curve], where="pre", color=color, label=label)
    local = [point for point in points if (point.users, point.strategy) == (numbers[0], NAMES[Tier.END])]
    style: dict[str, Any] = {"linestyle": "none", "markersize": 6, "markeredgewidth": 1.5, "zorder": 3}
    panel.plot(*_across(local), "o", color=TIER_COLORS[Tier.END], label="on the device, any number of users", **style)
    for point in local:
        name = point.decisions.partition("@")[0]
        offset, side = LABELS_ELSEWHERE.get(name, ((-4, 4), "right"))
        at = point.accuracy, point.ms
        panel.annotate(name, at, offset, textcoords="offset points", ha=side, fontsize=7.5, color=INK)
    style["markerfacecolor"] = "none"  # edge and cloud take equally long for one user
    for tier, marker in ((Tier.EDGE, "s"), (Tier.CLOUD, "D")):
        shown = [point for point in points if point.strategy == NAMES[tier]]
        panel.plot(
            *_across(shown), marker, color=TIER_COLORS[tier], label=f"on the {NAMES[tier]}, 1 to 5 users", **style
        )
    panel.set_xlabel("average Top-5 accuracy, %")
    panel.set_ylabel("average response time, ms")
    panel.set_xlim(71.5, 91)
    panel.set_ylim(bottom=0)
    panel.set_title("(c) every choice, and the optimum")
    panel.legend(loc="upper left")


def _across(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.accuracy for point in points], [point.ms for point in points]


def draw_figure5(figure: Figure, points: Sequence[Point]) -> None:
    """Bars of response times above, accuracies below."""
    times, accuracies = figure.subplots(2, 1, sharex=True, height_ratios=[3.0, 1.3])
    styles = {f"{NAMES[tier]} only": (TIER_COLORS[tier], f"{NAMES[tier]} only") for tier in Tier}
    styles[BASELINE] = (BASELINE_COLOR, "baseline [36]")
    labels = {"min": "ours, min", "max": "ours, max"}
    styles |= {
        floor: (color, labels.get(floor, f"ours, {floor} %")) for floor, color in zip(FLOORS, BLUES, strict=True)
    }
    for place, (strategy, (color, label)) in enumerate(styles.items()):
        shown = [point for point in points if point.strategy == strategy]
        at = [point.users + WIDTH * (place - (len(styles) - 1) / 2) for point in shown]
        times.bar(at, [point.ms for point in shown], 0.9 * WIDTH, color=color, label=label)
        accuracies.plot(at, [p.accuracy for p in shown], "o:", color=color, linewidth=0.8, markersize=5)
    times.set_ylabel("average response time, ms")
    times.legend(loc="upper left", ncols=3)
    accuracies.set_ylabel("average\nTop-5 accuracy, %")
    accuracies.set_ylim(70, 92)
    accuracies.set_xticks(sorted({point.users for point in points}))
    accuracies.set_xlabel("users")
    for panel in (times, accuracies):
        panel.grid(axis="x", visible=False)
    figure.align_ylabels([times, accuracies])
