"""Ships the response log to InfluxDB: a process of its own, started by the orchestrator or by hand.

Every row of the log is a point there, once, whichever side is killed at whatever moment: the log keeps the books, a
point's identity is its tags and its time, and a row counts as shipped only when the server has answered. Nothing here
decides, and no row is ever changed or deleted here. `influxdb_client` is imported by `target` alone.
"""
