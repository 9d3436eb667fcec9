"""Prints the seconds to the first batch of a stream of train batches, and the growth of peak memory in MiB.

python -m tests.data.memory_of_streaming NAME DATA_DIR IMAGE_SIZE IMAGES
"""

import resource
import sys
import time

from glow_tf.data import load_source, train_batches

BATCH = 64


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(name, data_dir, image_size, images):
    # TensorFlow's own allocations for its first stream are not counted.
    next(iter(train_batches(load_source("people"), BATCH, seed=0, flip=True)))
    before, began = peak(), time.perf_counter()
    source = load_source(name, data_dir=data_dir, image_size=int(image_size))
    stream = iter(train_batches(source, BATCH, seed=0, flip=True))
    next(stream)
    seconds = time.perf_counter() - began
    for _ in range(int(images) // BATCH):
        next(stream)
    print(f"{seconds:.2f} {peak() - before:.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
