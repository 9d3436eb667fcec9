"""Published configurations, as flagfiles for `glow train`."""

import pathlib
import re

FOLDER = pathlib.Path(__file__).parent


def names() -> list[str]:
    """Returns the names of the configurations, such as "celeba_hq_256", in order."""
    return sorted(path.stem for path in FOLDER.glob("*.flags"))


def find(name: str) -> pathlib.Path | None:
    """Returns the file of a configuration, named as `cifar10`, `cifar10.flags` or `flags/cifar10.flags`; or None."""
    stem = name.removeprefix("flags/").removesuffix(".flags")
    return FOLDER / f"{stem}.flags" if stem in names() else None


def describe(name: str) -> tuple[str, str]:
    """Returns two sentences from the top of a configuration's file: what it trains, and the figure to expect."""
    comment = []
    for line in (FOLDER / f"{name}.flags").read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        comment.append(line.removeprefix("# "))
    figure = next(i for i, line in enumerate(comment) if line.startswith("Expect "))
    return _sentence(comment), _sentence(comment[figure:])


def _sentence(lines: list[str]) -> str:
    return re.split(r"[.:;](?:\s|$)", " ".join(lines), maxsplit=1)[0]
