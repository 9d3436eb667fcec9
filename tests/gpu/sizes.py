"""How large the tests on a GPU are, in one place: together they take five minutes on a data centre's GPU."""

DEVICE = "GPU:0"
# The model of the paper, whose images must come back, and how many.
LARGE = {"image_shape": (32, 32, 3), "K": 32, "L": 3, "width": 512}
LARGE_IMAGES = 16
# One that is traced and compiled quickly, for the training step in all its forms.
SMALL = {"image_shape": (16, 16, 3), "K": 4, "L": 2, "width": 32, "n_bits": 5}
SMALL_BATCH = 16
# One with so many activations that those of its steps would show in its peak memory, and depths to compare.
WIDE = {"image_shape": (64, 64, 3), "L": 3, "width": 128}
WIDE_BATCH = 64
DEPTHS = (4, 16)
# Seconds in which a training step is traced, compiled and made; a deadline for one that stands still.
PATIENCE = 150.0
# Programs at the same time.
PROGRAMS = 3
