"""Prints the table of the published configurations in docs/published.md.

  python -m tools.published_table

Each row shows what `glow flags` prints, and the source that the flagfile names.
"""

import re

from glow_tf import flagfiles


def table() -> str:
    """Returns the table in Markdown, with a row for each configuration."""
    head = ["| `--flagfile` | expect | trains | source |", "|---|---|---|---|"]
    return "\n".join([*head, *map(_row, flagfiles.names())])


def _row(name: str) -> str:
    trains, expected = flagfiles.describe(name)
    return f"| `{name}` | {expected.removeprefix('Expect ')} | {trains} | {_source(name)} |"


def _source(name: str) -> str:
    """Returns the first source that a flagfile names."""
    comment = flagfiles.find(name).read_text(encoding="utf-8").replace("\n# ", " ")
    return re.search(r"Source: (.*?)(?:[;.]| \(arXiv)(?:\s|\d)", comment)[1]


if __name__ == "__main__":
    print(table())
