"""The software of a node on any tier: Intelligent Service, Resource Monitoring, requester, and its door to the site.

One program for end devices, edge and cloud; its YAML says which. It never decides where a request runs (that is the
orchestrator's), and it imports no torch, no InfluxDB client and no terminal library. The inference runtime, NumPy and
Pillow are imported when the first photograph needs them, so that a node at rest stays small.
"""
