"""Puts load on one orchestrator: thousands of cheap simulated devices that speak the real protocol.

It may use what two processes agree on (`broker`) and what a person may set (`configs`), and starts the orchestrator as
a process; it imports nothing of the orchestrator or of the agent of a node.
"""
