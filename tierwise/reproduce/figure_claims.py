"""Sentences of sections 3.1 and 6.1.1 about figures 1 and 5, and whether our numbers keep them.

The figures have no data in the text, so what is said of them is what can be compared. Pure: numbers in, rows out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from broker.vocabulary import Link, Tier
from tierwise.reproduce.artifact import Row
from tierwise.reproduce.figure_points import BASELINE, NAMES, OPTIMUM, Point
from tierwise.reproduce.published import FLOORS, fixed_strategies, published, table8

SAME = 0.01  # a near tie: what differs by at most 1 % counts as equal
HEADLINE_PERCENT = (34.0, 37.0)  # "up to 35 %"
GIVEN_UP = 0.9  # points of accuracy (section 6.1.1)


def claim(section: str, text: str, ours: str, agrees: bool, note: str = "") -> Row:
    """One sentence of the paper beside our numbers."""
    return {"claim": text, "section": section, "ours": ours, "agrees": bool(agrees), "note": note}


# -- section 3.1, figure 1 ---------------------------------------------------------------------------------------


def network_claims(ms: Mapping[Link, Mapping[Tier, float]]) -> Iterator[Row]:
    """Figure 1 (a): one user."""
    section = "3.1 Network"
    regular, weak = ms[Link.REGULAR], ms[Link.WEAK]
    of_regular, of_weak = (", ".join(f"{NAMES[tier]} {times[tier]:.1f}" for tier in Tier) for times in (regular, weak))
    near = _near(regular[Tier.EDGE], regular[Tier.CLOUD], "edge and cloud")
    slowest = max(Tier, key=lambda tier: regular[tier])
    yield claim(section, "Regular network: the device takes longest", of_regular, slowest is Tier.END)
    falls = regular[Tier.END] > regular[Tier.EDGE] > regular[Tier.CLOUD]
    yield claim(section, "Regular network: less from device to edge to cloud", of_regular, falls, near)
    best = min(Tier, key=lambda tier: regular[tier])
    note = f"Table 8 too: {_one_user('exp-a')}"
    yield claim(section, "Regular network: the cloud is best", of_regular, best is Tier.CLOUD, note)
    served = [tier for tier in Tier if tier is not Tier.END]
    rises = ", ".join(f"{NAMES[tier]} {regular[tier]:.1f} to {weak[tier]:.1f}" for tier in served)
    longer = all(weak[tier] > regular[tier] for tier in served)
    yield claim(section, "Weak network: edge and cloud take longer than with a regular one", rises, longer)
    near = _near(weak[Tier.EDGE], weak[Tier.CLOUD], "they")
    above = weak[Tier.EDGE] > weak[Tier.CLOUD]
    yield claim(section, "Weak network: the edge takes longer than the cloud", of_weak, above, near)
    own = f"{regular[Tier.END]:.1f} regular, {weak[Tier.END]:.1f} weak"
    note = "Table 9 contradicts it: five times d7 on the devices take {:g} ms in Exp-A and {:g} in Exp-D".format(
        *(published()["table9_five_users"][name]["min"]["ms"] for name in ("exp-a", "exp-d"))
    )
    kept = _same(regular[Tier.END], weak[Tier.END])
    yield claim(section, "The device's response time is independent of the network", own, kept, note)
    best = min(Tier, key=lambda tier: weak[tier])
    note = (
        f"one user on a weak link in Table 8: {_one_user('exp-c')}, and {_one_user('exp-d')}, a row that the other "
        "rows of Exp-D contradict"
    )
    yield claim(section, "Weak network: local execution is best", of_weak, best is Tier.END, note)


def user_claims(ms: Mapping[Tier, Sequence[float]]) -> Iterator[Row]:
    """Figure 1 (b): times for one user, for two, and so on."""
    section = "3.1 Users"
    told = {tier: _course(ms[tier]) for tier in Tier}
    yield claim(section, "On the device the average is constant", told[Tier.END], _constant(ms[Tier.END]))
    yield claim(section, "On the edge it increases significantly", told[Tier.EDGE], _grows(ms[Tier.EDGE]))
    yield claim(section, "On the cloud it increases too", told[Tier.CLOUD], _grows(ms[Tier.CLOUD]))
    lower = all(cloud < edge for edge, cloud in zip(ms[Tier.EDGE], ms[Tier.CLOUD], strict=True))
    near = _near(ms[Tier.EDGE][0], ms[Tier.CLOUD][0], "with one user they")
    both = f"edge {told[Tier.EDGE]}; cloud {told[Tier.CLOUD]}"
    yield claim(section, "On the cloud it is lower than on the edge", both, lower, near)


def accuracy_claims(points: Sequence[Point]) -> Iterator[Row]:
    """Figure 1 (c)."""
    section = "3.1 Accuracy"
    users = sorted({point.users for point in points})
    local = sorted(_of(points, users[0], NAMES[Tier.END]), key=lambda point: point.accuracy)
    falls = [f"{before.decisions} > {after.decisions}" for before, after in pairwise(local) if before.ms >= after.ms]
    note = "" if not falls else f"slower, yet less accurate: {', '.join(falls)} (int8 is faster than fp32)"
    told = ", ".join(f"{point.decisions} {point.ms:.0f}" for point in local)
    yield claim(section, "The response time increases with the model's accuracy", told, not falls, note)
    curves = {number: _of(points, number, OPTIMUM) for number in users}
    told = "; ".join(f"{_users(number)} {curve[0].ms:.0f} to {curve[-1].ms:.0f}" for number, curve in curves.items())
    grow = all(_grows([point.ms for point in curve]) for curve in curves.values())
    yield claim(section, "The least response time increases with the average accuracy", told, grow)
    one, most = curves[users[0]][-1], curves[users[-1]]
    within = [point for point in most if point.ms <= one.ms]
    told = f"{_users(users[0])} {one.ms:.1f} at {one.accuracy:.1f} %; {_users(users[-1])} " + (
        f"{within[-1].ms:.1f} at {within[-1].accuracy:.2f} %" if within else f"at least {most[0].ms:.1f}"
    )
    text = "Several users are served within the time of one, at a lower accuracy"
    yield claim(section, text, told, bool(within) and len(users) > 1)


# -- section 6.1.1, figure 5 -------------------------------------------------------------------------------------


def strategy_claims(points: Sequence[Point]) -> Iterator[Row]:
    """Figure 5."""
    users = sorted({point.users for point in points})
    ms = {name: [point.ms for point in _by_users(points, name)] for name in {point.strategy for point in points}}
    yield from _fixed_claims(ms)
    yield from _baseline_claims(ms, points)
    yield from _our_claims(ms, points, users)


def _fixed_claims(ms: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    section = "6.1.1 Fixed Strategies"
    device = ms["device only"]
    yield claim(section, "Device only: the number of users has no effect", _course(device), _constant(device))
    for tier, wanted_ms in fixed_strategies().items():
        ours_ms = ms[f"{NAMES[tier]} only"][-1]
        text = f"{NAMES[tier].capitalize()} only, five users: {wanted_ms:g} ms"
        yield claim(section, text, f"{ours_ms:.1f}", _same(ours_ms, wanted_ms))
    for name in ("edge only", "cloud only"):
        text = f"{name.capitalize()}: the average increases significantly with the users"
        yield claim(section, text, _course(ms[name]), _grows(ms[name]))
    last = {name: ms[name][-1] for name in ("device only", "edge only", "cloud only")}
    told = ", ".join(f"{name} {value:.0f}" for name, value in last.items())
    best = min(last, key=lambda name: last[name]) == "device only"
    yield claim(section, "With five users device only is the best of the fixed strategies", told, best)


def _baseline_claims(ms: Mapping[str, Sequence[float]], points: Sequence[Point]) -> Iterator[Row]:
    section = "6.1.1 Baseline"
    base = ms[BASELINE]
    told = _course(base)
    yield claim(section, "The average is constant up to two users", told, _constant(base[:2]))
    yield claim(section, "With the third user it increases", told, base[2] > base[1] and not _same(base[2], base[1]))
    steps = [after - before for before, after in pairwise(base[1:])]
    slower = _grows(base[2:]) and all(after < before for before, after in pairwise(steps))
    yield claim(section, "From three to five users it increases at a lower rate", _course(steps), slower, "steps in ms")
    for names in (("edge only", "cloud only"), ("device only",)):
        gains = {name: [there - here for here, there in zip(base, ms[name], strict=True)] for name in names}
        told = "; ".join(f"over {name} {_course(gain)}" for name, gain in gains.items())
        text = f"The more users, the larger its advantage over {' and '.join(names)}"
        kept = all(_grows(gain) for gain in gains.values())
        note = "" if kept else "edge and cloud take a share of the devices that gets smaller, the rest runs locally"
        yield claim(section, text, told, kept, note)
    fixed = {point.accuracy for point in points if point.strategy == BASELINE or point.strategy.endswith("only")}
    told = ", ".join(f"{value:.1f} %" for value in sorted(fixed))
    yield claim(section, "Baseline and fixed strategies keep a constant average accuracy", told, len(fixed) == 1)


def _our_claims(ms: Mapping[str, Sequence[float]], points: Sequence[Point], users: Sequence[int]) -> Iterator[Row]:
    section = "6.1.1 Our proposed solution"
    base = ms[BASELINE]
    equal = all(_same(ours, theirs) for ours, theirs in zip(ms["max"], base, strict=True))
    yield claim(section, "At max it takes what the baseline takes", f"{_course(ms['max'])}; {_course(base)}", equal)
    by_users = [[ms[floor][place] for floor in FLOORS] for place in range(len(users))]
    falls = all(_never_falls(times) and times[0] < times[-1] for times in by_users)
    told = "; ".join(f"{_users(number)} {_course(times)}" for number, times in zip(users, by_users, strict=True))
    note = "one user has so few choices that 89 and max have the same optimum" if _same(*by_users[0][-2:]) else ""
    yield claim(section, "The lower the threshold, the lower the average (min, 80, 85, 89, max)", told, falls, note)
    lower = all(ours <= theirs for ours, theirs in zip(ms["89"], base, strict=True)) and ms["89"][-1] < base[-1]
    told = f"at 89 % {_course(ms['89'])}; baseline {_course(base)}"
    yield claim(section, "With more users it keeps a lower average than the baseline", told, lower)
    lost = {
        (point.users, point.strategy): max(p.accuracy for p in points) - point.accuracy
        for point in points
        if point.strategy in FLOORS
    }
    gains = {
        (number, floor): 100 * (1 - ms[floor][place] / base[place])
        for place, number in enumerate(users)
        for floor in FLOORS
        if lost[number, floor] <= GIVEN_UP + 1e-9
    }
    number, floor = max(gains, key=lambda key: gains[key])
    gain = gains[number, floor]
    told = f"{gain:.1f} % with {_users(number)} at {floor} %, {lost[number, floor]:.1f} points given up"
    kept = HEADLINE_PERCENT[0] <= gain <= HEADLINE_PERCENT[1]
    text = f"Up to 35 % less than the baseline within {GIVEN_UP} points of accuracy"
    yield claim(section, text, told, kept, "agrees from {:g} to {:g} %".format(*HEADLINE_PERCENT))


# -- what sentences are made of ----------------------------------------------------------------------------------


def _of(points: Sequence[Point], users: int, strategy: str) -> list[Point]:
    return [point for point in points if point.users == users and point.strategy == strategy]


def _by_users(points: Sequence[Point], strategy: str) -> list[Point]:
    return sorted((point for point in points if point.strategy == strategy), key=lambda point: point.users)


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= SAME * min(a, b)


def _constant(values: Sequence[float]) -> bool:
    return _same(max(values), min(values))


def _grows(values: Sequence[float]) -> bool:
    return all(after > before for before, after in pairwise(values))


def _never_falls(values: Sequence[float]) -> bool:
    return all(after >= before for before, after in pairwise(values))


def _course(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


def _users(number: int) -> str:
    return f"{number} user{'s' if number > 1 else ''}"


def _near(a: float, b: float, what: str) -> str:
    return f"{what} differ by {abs(a / b - 1):.1%} only" if _same(a, b) else ""


def _one_user(experiment: str) -> str:
    cell = next(cell for cell in table8() if (cell.experiment, cell.users) == (experiment, 1))
    return f"{cell.decisions[0] if cell.decisions else '?'} {cell.ms:g} ms in {experiment}"
