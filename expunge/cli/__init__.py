"""The `expunge` command, one file a group of subcommands."""

from expunge.cli.root import main

__all__ = ["main"]
