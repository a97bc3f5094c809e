"""Resource Monitoring: processor, memory and bandwidth of this node (P, M and B of section 4.1), measured.

It measures and classifies; what the site makes of it is the orchestrator's. It sends nothing but telemetry and
heartbeats, and nothing that it does may wait.
"""
