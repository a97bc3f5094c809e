"""The Intelligent Orchestrator: it folds what nodes tell into a state, decides jointly per round, and learns.

State, reward, fallback, agents and the round book are pure; `live` is the one shell that talks to the broker, the
clock and the disk. It imports no `device_agent`, runs no network, and its agents know nothing of MQTT.
"""
