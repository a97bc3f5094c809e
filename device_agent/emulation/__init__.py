"""Given times for many nodes on one machine: a virtual server that says when a job would have finished.

Pure scheduling: time is passed in, nothing is read, waited for or sent. It knows no network, no image and no message.
"""
