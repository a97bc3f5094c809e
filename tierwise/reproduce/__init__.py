"""The paper's tables and figures beside ours: one module per table or group of figures.

It reads the published figures, asks simulator, solver, agents and the demo's fleet for ours, and writes the difference.
Nothing here is a source of truth for the rest of the project but `a1-paper.yaml`, which `paper_fit` makes.
"""
