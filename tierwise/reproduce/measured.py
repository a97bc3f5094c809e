"""What is measured on this machine with real processes, broker and networks: Table 12, figure 8, step times.

Times of inferences are emulated as in `tierwise demo`; messages, decisions, learning and monitoring are not.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from broker.vocabulary import Action, Link, ModelName, Tier
from configs.calibration import CalibrationConfig
from configs.orchestrator import Policy
from orchestrator.simulator.files import find
from tierwise.reproduce.artifact import Artifact, Picture, Row
from tierwise.reproduce.fleet_run import DecideTimes, Tell, folder, run_fleet
from tierwise.reproduce.message_times import message_rows, messages_of, share_rows
from tierwise.reproduce.monitoring_cost import PERIOD_S, Shares, monitoring_shares
from tierwise.reproduce.published import USERS, published
from tierwise.reproduce.site import CALIBRATION, all_on, outcome
from tierwise.reproduce.step_times import Times, exploiting_agent, step_times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT_OF = {Link.REGULAR: "exp-a", Link.WEAK: "exp-d"}
STEPS = 1000  # in-process calls of each kind
GOALS_MS = {
    (Policy.Q_LEARNING, "decision"): 0.05,
    (Policy.DQN, "decision"): 5.0,
    (Policy.DQN, "learning"): 2.0,
}
STEP_PUBLISHED_AS = {Policy.Q_LEARNING: "q_step_ms", Policy.DQN: "dqn_step_ms_on_rtx5000"}


def part(tell: Tell, number: int, of: int) -> Tell:
    """Tells of one of several equal parts as of the whole."""
    return lambda fraction, text: tell((number + fraction) / of, text)


def _machine() -> Row:
    return {"machine": platform.machine(), "cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 1)}


def _machine_told(machine: Row) -> str:
    """What else ran is part of what was measured."""
    return "Machine: {machine}, {cores} cores; its load average before the measurement was {load_before}.".format(
        **machine
    )


# -- table 12 ----------------------------------------------------------------------------------------------------


def reproduce_table12(rounds: int, tell: Tell, directory: Path | None = None) -> Artifact:
    """Messages of `rounds` rounds each of edge_only and device_only, with regular and with weak links.

    `directory` keeps logs and configurations. Raises TierwiseError.
    """
    machine = _machine()
    rows: list[Row] = []
    shares: list[Row] = []
    with folder(directory) as where:
        for number, (link, experiment) in enumerate(EXPERIMENT_OF.items()):
            phases = [(Policy.EDGE_ONLY, rounds), (Policy.DEVICE_ONLY, rounds)]
            site = run_fleet(where / str(link), experiment, phases, part(tell, number, len(EXPERIMENT_OF)))
            messages = messages_of(site, link)
            rows += [_cell(row, link) for row in message_rows(messages)]
            shares += share_rows(messages)
    return Artifact(
        name="table12",
        title="Table 12: message broadcasting overhead",
        command="tierwise reproduce table12",
        text=(
            "Measured: Mosquitto, five devices, edge and cloud as processes of this machine; on weak links every "
            f"outgoing byte of a node is held back by 20 ms. {rounds} rounds of edge_only and of device_only on each."
        ),
        columns=("message", "link", "published_ms", "ours_ms", "difference_percent", "p95_ms", "n"),
        rows=rows,
        notes=[*TABLE12_NOTES, *map(_share_told, shares), _machine_told(machine)],
        facts={"rounds": rounds, **machine, "shares": shares},
    )


def _cell(row: Row, link: Link) -> Row:
    """With what every table's cells have."""
    published_ms, ours_ms = row["published_ms"], row["ours_ms"]
    difference = None if published_ms is None else round(100 * (ours_ms / published_ms - 1), 1)
    where = {"experiment": EXPERIMENT_OF[link], "users": USERS, "floor": None, "note": ""}
    return {**where, **row, "difference_percent": difference}


TABLE12_NOTES = (
    "ours_ms is the median over n rows of the response log.",
    "request: from publishing the image to the broker's acknowledgement (QoS 1). The image is encoded before; see its "
    "own row.",
    "update: the node's `rtt_ms` in its telemetry: the median of its last five round trips from publishing a small QoS "
    "1 message (report, state, birth) to the broker's acknowledgement. Telemetry itself is QoS 0 and goes one way, so "
    "this is an upper bound. p95 is of running medians, which spread less than single messages.",
    "decision: from a device's own request to its decision (`decide_ms`): the request on its way, the wait for the "
    "slowest of the five devices, the agent, the decision on its way. So on weak links it contains the 20 ms of a "
    "request. The paper's decision is the message alone.",
    "total: request and decision of one request, and the median update.",
    "The paper sends web service calls; 117 ms more on a weak link are several delayed packets for a request. Over "
    "MQTT it is one message on a connection that is kept, acknowledged once (QoS 1): 20 ms a message.",
    "An update of 2 ms on a weak link (published) is shorter than the 20 ms by which every outgoing packet is delayed "
    "(section 5.2), so it cannot be the time until it arrives, which ours bounds.",
    "All processes share this machine's cores: what waits for a core is in these times, and no radio is.",
    "Broadcasting, published: at most 2 % of the response time. By the paper's own figures that fits update and "
    "decision alone: 1.4 ms of the fastest 72.08 ms (Exp-A, min) are 1.9 %; with the request 21.4 of 363.47 are 5.9 %. "
    "Ours is the median over requests, the median update added to each, though an update delays no request.",
)


def _share_told(row: Row) -> str:
    return (
        f"Broadcasting ({row['messages']}) with {row['strategy']}, {row['link']} links: {row['share_percent']:.2f} % "
        f"of the response time (published: at most {row['published_percent']} %; "
        f"{'holds' if row['agrees'] else 'DOES NOT HOLD'})."
    )


# -- step times --------------------------------------------------------------------------------------------------


def reproduce_steptimes(rounds: int, tell: Tell, directory: Path | None = None, steps: int = STEPS) -> Artifact:
    """Decisions and learning of five devices: `steps` calls in this process, and `rounds` rounds of a fleet.

    Raises TierwiseError.
    """
    machine = _machine()
    rows: list[Row] = []
    with folder(directory) as where:
        for number, policy in enumerate(STEP_PUBLISHED_AS):
            told = part(tell, number, len(STEP_PUBLISHED_AS))
            told(0.0, f"{policy}: {steps} steps in this process")
            agent = exploiting_agent(policy)
            rows += [_step_row(policy, step, times) for step, times in step_times(agent, steps).items()]
            site = run_fleet(where / str(policy), "exp-a", [(policy, rounds)], told, agent)
            rows.append(_stack_row(policy, site.decide_times()))
    return Artifact(
        name="steptimes",
        title="Step times of the agents with five devices",
        command="tierwise reproduce steptimes",
        text=(
            "Section 6.2.2: the Q-learning agent's logic takes 0.6 ms, a deep Q-learning step 11 ms on an NVIDIA RTX "
            "5000. Ours on one CPU, never exploring: every decision is an argmax over 10^5 joint actions."
        ),
        columns=("agent", "step", "where", "median_ms", "p99_ms", "cpu_ms", "n", "goal_ms", "met", "published_ms"),
        rows=rows,
        notes=[*STEP_NOTES, _machine_told(machine)],
        facts={"devices": USERS, "joint_actions": 10**USERS, "rounds": rounds, "steps": steps, **machine},
        key="steps",
    )


STEP_NOTES = (
    "process: alone in one process, after 100 calls that warm up. decision: `act`; learning: `learn`; step: both. "
    "cpu_ms is the median processor time: on a busy machine the other times contain waiting for a core.",
    "stack: the orchestrator of a running fleet says from a round's last request to all five decisions handed to the "
    "MQTT client: state, agent, fallbacks and encoding, while seven nodes share the cores. n is the number of rounds.",
    "On the stack the agents go on from what they learned in this process. A Q-table has no row for a state that it "
    "has not met, and decides there without an argmax.",
    "The paper does not say what its step contains; it stands beside ours of decision and learning.",
)


def _step_row(policy: Policy, step: str, times: Times) -> Row:
    said = published()["overheads"][STEP_PUBLISHED_AS[policy]] if step == "step" else None
    return _timed(policy, step, "process", times, GOALS_MS.get((policy, step)), said)


def _stack_row(policy: Policy, times: DecideTimes) -> Row:
    row = _timed(policy, "decision", "stack", Times(times.median_ms, times.p99_ms, times.rounds), None, None)
    return {**row, "without_agent": times.without_agent}


def _timed(policy: Policy, step: str, where: str, times: Times, goal_ms: float | None, said_ms: float | None) -> Row:
    return {
        "agent": str(policy),
        "step": step,
        "where": where,
        "median_ms": round(times.median_ms, 4),
        "p99_ms": round(times.p99_ms, 4),
        "cpu_ms": None if times.cpu_ms is None else round(times.cpu_ms, 4),
        "n": times.count,
        "goal_ms": goal_ms,
        "met": None if goal_ms is None else times.median_ms <= goal_ms,
        "published_ms": said_ms,
    }


# -- figure 8 ----------------------------------------------------------------------------------------------------


def reproduce_figure8(seconds: float, tell: Tell, directory: Path | None = None) -> Artifact:
    """Resource Monitoring on each tier, over `seconds`, against the least response time there. Raises TierwiseError."""
    machine = _machine()
    with folder(directory) as where:
        where.mkdir(parents=True, exist_ok=True)
        shares = monitoring_shares(where, seconds, tell)
    rows = monitoring_rows(shares)
    most = published()["overheads"]["monitoring_percent_of_min_response"]
    return Artifact(
        name="figure8",
        title="Figure 8: resource monitoring overhead",
        command="tierwise reproduce figure8",
        text=(
            f"Published: less than {most} % of the minimum response time on every layer. Measured over {seconds:g} s, "
            "on each tier a pair of real agents at rest: one monitors and beats each second, one almost never."
        ),
        columns=FIGURE8_COLUMNS,
        rows=rows,
        notes=[*FIGURE8_NOTES, _machine_told(machine)],
        facts={"seconds": seconds, "published_percent": most, **machine},
        pictures=[Picture("", (6.0, 3.4), lambda figure: _draw_figure8(figure, rows, most))],
        key="tiers",
    )


FIGURE8_COLUMNS = (
    *("tier", "vcpus", "monitoring_core_percent", "resting_core_percent", "cost_core_percent", "minimum_model"),
    *("minimum_ms", "overhead_ms", "overhead_percent", "hit_percent", "published_percent", "agrees"),
)
FIGURE8_NOTES = (
    "cost_core_percent: processor time of the monitoring agent less that of the resting one, in % of one core of this "
    "machine; the paper's cores are slower.",
    "overhead_percent: on a node with v vCPUs that all compute without pause, what monitoring takes they lack: the "
    "response time grows by the cost over v. With a vCPU idle it takes nothing from an inference.",
    "minimum_ms: the least response time there under the shipped calibration, one user, Exp-A (section 4.2: d0 on edge "
    "and cloud); overhead_ms is its share.",
    f"hit_percent: should all that monitoring does in {PERIOD_S:g} s fall into one such inference, on its core. Most "
    "are not hit; the average is overhead_percent.",
)


def monitoring_rows(shares: Mapping[Tier, Shares]) -> list[Row]:
    """One row per tier; the vCPUs are the calibration's."""
    calibration = find(CalibrationConfig, CALIBRATION)
    vcpus = {Tier.END: 1, Tier.EDGE: calibration.edge.vcpus, Tier.CLOUD: calibration.cloud.vcpus}
    most = published()["overheads"]["monitoring_percent_of_min_response"]
    rows = []
    for tier, share in shares.items():
        least = outcome("exp-a", [Action(tier, ModelName("d7"))]) if tier is Tier.END else all_on(tier, "exp-a", 1)
        percent = share.cost_percent / vcpus[tier]
        rows.append(
            {
                "tier": str(tier),
                "vcpus": vcpus[tier],
                "monitoring_core_percent": round(share.monitoring_percent, 4),
                "resting_core_percent": round(share.resting_percent, 4),
                "cost_core_percent": round(share.cost_percent, 4),
                "minimum_model": str(least.actions[0].model),
                "minimum_ms": round(least.ms, 2),
                "overhead_ms": round(percent / 100 * least.ms, 4),
                "overhead_percent": round(percent, 4),
                "hit_percent": round(100 * share.cost_percent / 100 * PERIOD_S * 1000 / least.ms, 4),
                "published_percent": most,
                "agrees": percent <= most,
            }
        )
    return rows


def _draw_figure8(figure: Figure, rows: Sequence[Row], most: float) -> None:
    panel = figure.subplots()
    bars = panel.bar(range(len(rows)), [row["overhead_percent"] for row in rows], 0.5, color="#2f6f9f")
    panel.bar_label(bars, fmt="%.3f %%", padding=2)
    panel.axhline(most, color="#b3423a", linestyle="--", linewidth=1)
    across = panel.get_yaxis_transform()
    panel.text(
        0.99, most * 0.985, f"published: at most {most} %", transform=across, ha="right", va="top", color="#b3423a"
    )
    panel.set_xticks(range(len(rows)), [f"{row['tier']}\n{row['minimum_ms']:.0f} ms" for row in rows])
    panel.set_ylabel("overhead, % of the minimum\nresponse time")
    panel.set_ylim(0, 1.15 * max(most, *(row["overhead_percent"] for row in rows)))
    panel.grid(axis="x", visible=False)
