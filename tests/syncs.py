"""Records what is synced to disk, and so survives a power failure."""

import os


def record_syncs(monkeypatch, directory):
    """Returns a list that grows with each sync of something in `directory`: its name, and those of all files then."""
    found, sync = [], os.fsync

    def record(descriptor):
        paths = [directory, *directory.rglob("*")]
        (name,) = [path.name for path in paths if os.path.samestat(path.stat(), os.fstat(descriptor))]
        found.append((name, {path.name for path in paths}))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return found
