"""Rows of the GPU benchmark's table, in order of importance."""

import dataclasses
from typing import Any

GROUPS = ("throughput", "large", "options", "memory")
# Stands for the fastest precision among the preceding rows.
FASTEST = "fastest"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table, measured by one process.

    Attributes:
      name: name of the row.
      group: one of `GROUPS`.
      kind: `products`, `train`, `passes`, or `pytorch`, the peer.
      sizes: K, L, width, image_size and batch_size; empty for `products`.
      gradient: as for `ModelConfig`.
      network_precision: one of `NETWORK_PRECISIONS`, or `FASTEST`.
      options: further arguments of `tools.gpu_measure.train`.
      workloads: workloads of the peer to measure.
    """

    name: str
    group: str
    kind: str
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    gradient: str = "reversible"
    network_precision: str = "float32"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    workloads: tuple[str, ...] = ("train",)

    @property
    def batch_size(self) -> int:
        """Images per batch."""
        return self.sizes["batch_size"]


def rows(*, smoke: bool = False) -> list[Row]:
    """Returns all rows; with `smoke`, of models small enough to be measured on a CPU in seconds."""
    small = {"K": 32, "L": 3, "width": 512, "image_size": 32}
    large = {"K": 32, "L": 6, "width": 512, "image_size": 256}
    batches, large_batches, depths, memory_batches = (64, 512), (1, 4, 16), (16, 32, 64), (8, 1, 64)
    if smoke:
        small = {"K": 1, "L": 2, "width": 4, "image_size": 8}
        large = {"K": 2, "L": 2, "width": 4, "image_size": 16}
        batches, large_batches, depths, memory_batches = (2, 4), (1, 2), (1, 2), (1, 2)
    return [
        Row(name="matrix product", group="throughput", kind="products"),
        *_throughput(small, batches[0], all_workloads=True),
        *_throughput(small, batches[1], all_workloads=False),
        *(_train(large, batch, "large") for batch in large_batches),
        *_options(small, batches[0]),
        *(
            _train({**large, "K": depth}, batch, "memory")
            for batch in memory_batches
            for depth in depths
            if depth != large["K"] or batch not in large_batches
        ),
    ]


def chosen(found: list[Row], names: list[str]) -> list[Row]:
    """Returns the rows whose group is in `names`, or whose name contains one of them.

    Raises:
      ValueError: if a name matches no row.
    """
    for name in names:
        if not any(name == row.group or name in row.name for row in found):
            raise ValueError(f"{name!r} is neither a group ({', '.join(GROUPS)}) nor part of the name of a row.")
    return [row for row in found if any(name == row.group or name in row.name for name in names)]


def _throughput(sizes: dict[str, int], batch: int, *, all_workloads: bool) -> list[Row]:
    sizes = {**sizes, "batch_size": batch}
    title = f"{_title(sizes)}, batch {batch}"
    trained = [
        Row(
            name=f"{title}, reversible, {precision}",
            group="throughput",
            kind="train",
            sizes=sizes,
            network_precision=precision,
        )
        for precision in ("float32", "tf32", "bfloat16")
    ]
    stored = Row(
        name=f"{title}, stored",
        group="throughput",
        kind="train",
        sizes=sizes,
        gradient="stored",
        network_precision=FASTEST,
    )
    passes = Row(name=title, group="throughput", kind="passes", sizes=sizes)
    theirs = [
        Row(
            name=f"{title}, PyTorch, {precision}",
            group="throughput",
            kind="pytorch",
            sizes=sizes,
            network_precision=precision,
            workloads=("train", "likelihood", "sample") if all_workloads and precision == "tf32" else ("train",),
        )
        for precision in ("tf32", "bfloat16")
    ]
    return [*trained, *([passes] if all_workloads else []), stored, *theirs]


def _train(sizes: dict[str, int], batch: int, group: str) -> Row:
    name = f"{_title(sizes)}, K={sizes['K']}, batch {batch}"
    sizes = {**sizes, "batch_size": batch}
    return Row(name=name, group=group, kind="train", sizes=sizes)


def _options(sizes: dict[str, int], batch: int) -> list[Row]:
    options = {
        "without XLA": {"xla": False},
        "without XLA and layout optimizer": {"xla": False, "layout_optimizer": False},
        "deterministic": {"deterministic": True},
    }
    return [
        Row(
            name=f"{_title(sizes)}, batch {batch}, {title}",
            group="options",
            kind="train",
            sizes={**sizes, "batch_size": batch},
            network_precision="tf32",
            options=row_options,
        )
        for title, row_options in options.items()
    ]


def _title(sizes: dict[str, int]) -> str:
    return f"{sizes['image_size']}x{sizes['image_size']}"
