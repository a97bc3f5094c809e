"""Who is who at a site: its certificate authority, accounts, and the folders that carry them to where they belong.

For the machine of the person who runs the site. Nodes and the orchestrator never import it: they read the files that
it made (`broker.tls`), so it alone needs `cryptography`.
"""
