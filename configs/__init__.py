"""What a person may set: the YAML files, and beside them their pydantic schema and the loader that reads them.

Nothing else lives here: no defaults hidden in code elsewhere, no decision, no I/O but reading, watching and rewriting
those files. It may import `broker` for the vocabulary.

text --syntax--> tree --mistakes--> settings, or problems in the words of `wording`
                                    `expected` reads the schema, for words, JSON Schema and everything else

"""
