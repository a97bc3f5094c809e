"""From what nodes told to what an agent sees: the active devices' state and the actions that each has now."""

from __future__ import annotations

from collections.abc import Iterable

from broker.messages import Telemetry
from broker.vocabulary import Action, ModelName, NodeId, Tier
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Observation
from orchestrator.nodes import Node, Registry
from orchestrator.state import SystemState, system_state

SERVING_TIERS = (Tier.EDGE, Tier.CLOUD)


class Observer:
    """Makes observations of one site. Keeps equal action lists as one object: they are compared each round."""

    def __init__(self, registry: Registry, accuracies: Accuracies) -> None:
        self._registry = registry
        self._accuracies = accuracies
        self._action_lists: dict[tuple[Action, ...], tuple[Action, ...]] = {}
        self._local: dict[frozenset[ModelName], list[Action]] = {}

    def observe(self, devices: Iterable[NodeId], floor_tenths: int, now_s: float) -> Observation:
        """What there is to decide for `devices`. One that can do nothing at all is left out."""
        offered = self._offered_by_tiers(now_s)
        actions = {device: self._actions(self._registry.get(device), offered) for device in sorted(devices)}
        able = tuple(device for device, has in actions.items() if has)
        return Observation(
            state=self.state(able, now_s),
            devices=able,
            actions=tuple(actions[device] for device in able),
            floor_tenths=floor_tenths,
            accuracy_tenths=self._accuracies.tenths,
        )

    def state(self, devices: Iterable[NodeId], now_s: float) -> SystemState:
        """Equation 3 as the last telemetry has it."""
        edge, cloud = (_telemetry(self._registry.serving(tier, now_s)) for tier in SERVING_TIERS)
        return system_state(edge, cloud, [_telemetry(self._registry.get(device)) for device in devices])

    def _offered_by_tiers(self, now_s: float) -> list[Action]:
        """Edge and cloud always run their most accurate model (section 4.2)."""
        offered = []
        for tier in SERVING_TIERS:
            node = self._registry.serving(tier, now_s)
            model = self._accuracies.most_accurate(self._models(node))
            if model is not None:
                offered.append(Action(tier, model))
        return offered

    def _actions(self, node: Node | None, offered: list[Action]) -> tuple[Action, ...]:
        models = frozenset(self._models(node))
        if models not in self._local:
            self._local[models] = [Action(Tier.END, model) for model in self._accuracies.tenths if model in models]
        actions = (*self._local[models], *offered)
        return self._action_lists.setdefault(actions, actions)

    def _models(self, node: Node | None) -> list[ModelName]:
        if node is None or node.birth is None:
            return []
        return [ModelName(model) for model in node.birth.models if model in self._accuracies.tenths]


def _telemetry(node: Node | None) -> Telemetry | None:
    return node.telemetry if node is not None else None


def local_models(actions: Iterable[Action]) -> list[ModelName]:
    """The models that a device can run itself."""
    return [action.model for action in actions if action.tier is Tier.END]
