"""The policies, one algorithm per file, on the `Agent` protocol of `orchestrator.agent`.

An agent knows states, actions, response times and rewards. It never speaks MQTT and never imports another agent.
"""
