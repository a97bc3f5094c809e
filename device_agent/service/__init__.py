"""The Intelligent Service: takes in inference jobs, local ones and those of other devices alike, and runs them.

It knows a job, a photograph's bytes and a model's name. It never talks to the broker and never chooses a model.
"""
