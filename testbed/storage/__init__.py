"""The orchestrator's response log under kill -9, full and failing disks, torn tails and clocks that step.

The device's outbox has the same trials in `tests/device_agent/test_report_store.py`.
"""
