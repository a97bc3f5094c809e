"""What a person may set: the YAML files, and beside them their pydantic schema and the loader that reads them.

Nothing else lives here: no defaults hidden in code elsewhere, no decision, no I/O but reading the file. It may import
`broker` for the vocabulary.
"""
