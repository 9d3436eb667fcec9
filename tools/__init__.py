"""Command-line tools on trained models; each is `python -m tools.<name> --help`."""
