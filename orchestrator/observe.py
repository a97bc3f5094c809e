"""From what nodes told to what an agent sees: the active devices' state and the actions that each has now."""

from __future__ import annotations

from collections.abc import Iterable

from broker.messages import Birth, Telemetry
from broker.vocabulary import Action, ModelName, NodeId, Tier
from configs.orchestrator import ActionSpace
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Observation
from orchestrator.nodes import SERVING_TIERS, Node, Registry
from orchestrator.state import Resources, SystemState, resources


class Observer:
    """Makes observations of one site. Keeps equal action lists as one object: they are compared each round."""

    def __init__(self, registry: Registry, accuracies: Accuracies, space: ActionSpace = ActionSpace.PAPER) -> None:
        self._registry = registry
        self._accuracies = accuracies
        self._space = space
        self._action_lists: dict[tuple[Action, ...], tuple[Action, ...]] = {}
        self._local: dict[frozenset[ModelName], list[Action]] = {}
        # What was made of each node's last words, so that one request of a thousand devices does not cost all of them.
        self._actions_of: dict[NodeId, tuple[Birth, list[Action], tuple[Action, ...]]] = {}
        self._resources_of: dict[NodeId, tuple[Telemetry, Resources]] = {}
        self._offered: list[Action] = []
        self._offered_of: list[Birth | None] | None = None

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

    def able(self, device: NodeId, offered: list[Action]) -> tuple[Action, ...]:
        """What one device can do while edge and cloud offer that."""
        return self._actions(self._registry.get(device), offered)

    def offered(self, now_s: float) -> list[Action]:
        """What edge and cloud offer; the same object as long as that is the same."""
        return self._offered_by_tiers(now_s)

    def state(self, devices: Iterable[NodeId], now_s: float) -> SystemState:
        """Equation 3 as the last telemetry has it."""
        edge, cloud = (self._resources(self._registry.serving(tier, now_s)) for tier in SERVING_TIERS)
        return SystemState(edge, cloud, tuple(self._resources(self._registry.get(device)) for device in devices))

    def _resources(self, node: Node | None) -> Resources | None:
        if node is None or node.telemetry is None:
            return None
        known = self._resources_of.get(node.node)
        if known is None or known[0] is not node.telemetry:
            known = self._resources_of[node.node] = (node.telemetry, resources(node.telemetry))
        return known[1]

    def _offered_by_tiers(self, now_s: float) -> list[Action]:
        """Edge and cloud always run their most accurate model (section 4.2); in the full space, any that they have."""
        serving = [self._registry.serving(tier, now_s) for tier in SERVING_TIERS]
        births = [None if node is None else node.birth for node in serving]
        known = self._offered_of
        if known is not None and births[0] is known[0] and births[1] is known[1]:
            return self._offered
        self._offered_of = births
        offered = []
        for tier, node in zip(SERVING_TIERS, serving, strict=True):
            models = self._models(node)
            if self._space is ActionSpace.PAPER:
                best = self._accuracies.most_accurate(models)
                models = [] if best is None else [best]
            offered += [Action(tier, model) for model in self._accuracies.tenths if model in models]
        if offered != self._offered:
            self._offered = offered
        return self._offered

    def _actions(self, node: Node | None, offered: list[Action]) -> tuple[Action, ...]:
        if node is None or node.birth is None:
            return self._listed(node, offered)
        known = self._actions_of.get(node.node)
        if known is None or known[0] is not node.birth or known[1] is not offered:
            known = self._actions_of[node.node] = (node.birth, offered, self._listed(node, offered))
        return known[2]

    def _listed(self, node: Node | None, offered: list[Action]) -> tuple[Action, ...]:
        models = frozenset(self._models(node))
        if models not in self._local:
            self._local[models] = [Action(Tier.END, model) for model in self._accuracies.tenths if model in models]
        actions = (*self._local[models], *offered)
        return self._action_lists.setdefault(actions, actions)

    def _models(self, node: Node | None) -> list[ModelName]:
        if node is None or node.birth is None:
            return []
        return [ModelName(model) for model in node.birth.models if model in self._accuracies.tenths]


def cheapest_local(actions: tuple[Action, ...], allowed: int, accuracies: Accuracies) -> ModelName | None:
    """The cheapest local model within so many tenths, else the most accurate; None where there is no local model."""
    able = local_models(actions)
    within = [model for model in able if accuracies.deficit(model) <= allowed]
    return min(within, key=accuracies.cost.__getitem__, default=accuracies.most_accurate(able))


def local_models(actions: Iterable[Action]) -> list[ModelName]:
    """The models that a device can run itself."""
    return [action.model for action in actions if action.tier is Tier.END]
