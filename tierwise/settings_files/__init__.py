"""What `tierwise config` does with the files that a person edits: asks, writes, shows."""
