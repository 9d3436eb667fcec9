"""Lists the published configurations, with the figure that each should reach.

  glow flags
  glow flags celeba_hq_256
  glow train --flagfile=celeba_hq_256

A flag after --flagfile overrides the one in the file: glow train --flagfile=cifar10 --K=8
"""

import sys

from absl import app

from glow_tf import flagfiles


def main(argv: list[str]) -> None:
    """Prints the list, or the configuration that `argv` names."""
    if len(argv) > 2:
        raise app.UsageError("Name one configuration, or none for a list.")
    if len(argv) == 2:
        path = flagfiles.find(argv[1])
        if path is None:
            print(f"error: {argv[1]} is not a published configuration; glow flags lists them.", file=sys.stderr)
            raise SystemExit(1)
        print(path.read_text(encoding="utf-8"), end="")
        return
    width = max(map(len, flagfiles.names()))
    for name in flagfiles.names():
        trains, expected = flagfiles.describe(name)
        print(f"{name:{width}}  {trains}\n{'':{width}}  {expected}")


if __name__ == "__main__":
    app.run(main)
