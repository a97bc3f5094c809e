"""How soon a peer that is frozen or dead is known, and how soon a site without its cloud answers."""
