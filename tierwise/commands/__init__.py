"""One module per subcommand, imported only when it is called, each with a typer `app`."""
