"""Figures 1 and 5 under the shipped calibration: the plots, and what the paper's text says of them."""

from __future__ import annotations

from tierwise.reproduce.artifact import Artifact, Picture, Row
from tierwise.reproduce.figure_claims import SAME, accuracy_claims, network_claims, strategy_claims, user_claims
from tierwise.reproduce.figure_drawing import draw_figure1, draw_figure5
from tierwise.reproduce.figure_points import ALL_USERS, NAMES, accuracy_points, network_ms, strategy_points, users_ms

NEAR = (
    f"Times in ms. Where a statement says constant, equal or best, {SAME:.0%} counts as equal; where it names an "
    "order, a smaller difference is said in its note."
)


def reproduce_figure1() -> Artifact:
    """Response time against network, number of users and accuracy (section 3.1)."""
    network, users = network_ms(), users_ms()
    points = [point for number in ALL_USERS for point in accuracy_points(number)]
    claims = [*network_claims(network), *user_claims(users), *accuracy_claims(points)]
    facts: Row = {
        "claims_kept": _kept(claims),
        "network_ms": {
            str(link): {NAMES[tier]: round(ms, 2) for tier, ms in row.items()} for link, row in network.items()
        },
        "users_ms": {NAMES[tier]: [round(value, 2) for value in ms] for tier, ms in users.items()},
        "points": [point.row() for point in points],
    }
    return Artifact(
        name="figure1",
        title="Figure 1: response time against network, users and accuracy",
        command="tierwise reproduce figure1",
        text=(
            f"{_kept(claims)} of {len(claims)} statements of section 3.1 hold under the calibration that Tables 8 and "
            "9 give. (a) One user with a regular link (Exp-A), and where his link and the edge's are weak (Exp-D). "
            "(b) Everything on one layer, Exp-A. (c) Every choice of layer and model, and the optimum over all "
            "accuracy floors, Exp-A."
        ),
        columns=("claim", "section", "ours", "agrees", "note"),
        rows=claims,
        notes=[
            NEAR,
            "Edge and cloud serve d0 only (section 4.2), so accuracy varies on the devices alone. How long a model "
            "takes there does not depend on the number of users: the plot shows it once.",
            "All points of (c), and the optimum at every floor at which it changes, are in the JSON.",
        ],
        facts=facts,
        pictures=[Picture("", (12.0, 4.2), lambda figure: draw_figure1(figure, network, users, points))],
        key="claims",
    )


def reproduce_figure5() -> Artifact:
    """Fixed strategies, the baseline and ours for one to five users (section 6.1.1)."""
    points = [point for users in ALL_USERS for point in strategy_points(users)]
    claims = list(strategy_claims(points))
    return Artifact(
        name="figure5",
        title="Figure 5: strategies for one to five users, Exp-A",
        command="tierwise reproduce figure5",
        text=(
            f"{_kept(claims)} of {len(claims)} statements of section 6.1.1 hold. `baseline` is the offload-only "
            "optimum of [36], found by trying all 3^N joint actions with d0; min to max are ours, proven by the solver."
        ),
        columns=("users", "strategy", "ms", "accuracy", "decisions"),
        rows=[point.row() for point in points],
        notes=[NEAR, *map(_sentence, claims)],
        facts={"claims_kept": _kept(claims), "claims": claims},
        pictures=[Picture("", (10.5, 5.4), lambda figure: draw_figure5(figure, points))],
        key="bars",
    )


def _kept(claims: list[Row]) -> int:
    return sum(row["agrees"] for row in claims)


def _sentence(row: Row) -> str:
    """A claim in a line of text."""
    note = f" ({row['note']})" if row["note"] else ""
    return f"{'Holds' if row['agrees'] else 'DOES NOT HOLD'}: {row['claim']}. Ours: {row['ours']}{note}."
