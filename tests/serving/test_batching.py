"""Concurrent requests: batches give the results of single requests, and an error fails only its own request."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
import pytest
import tensorflow as tf

from glow_tf.serving.batching import Runner, reason
from glow_tf.serving.errors import RequestError
from glow_tf.serving.rest import Request
from tests.serving.examples import FILES, IMAGES, TOLERANCE, direct, inputs_of

LATER = 1e9


def request_of(model, name, inputs, rows=True):
    return Request(model.signatures[name], {**model.signatures[name].defaults, **inputs}, rows)


def together(runner, requests):
    """Starts requests at the same moment, and returns the outputs or the error of each."""
    barrier = threading.Barrier(len(requests))

    def run(request):
        barrier.wait()
        try:
            return runner.run(request, LATER)
        except RequestError as error:
            return error

    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(run, requests))


@pytest.fixture(scope="module")
def sizes():
    """The number of rows in each run of `counted_model`."""
    return []


@pytest.fixture(scope="module")
def counted_model(model, sizes):
    """The model, whose serving_default appends the number of rows in each run to `sizes`."""

    class Counted:
        signatures = model.signatures
        functions = dict(model.functions)

    def counted(images):
        def note(rows):
            sizes.append(int(rows))
            return np.int32(rows)

        rows = tf.numpy_function(note, [tf.shape(images)[0]], tf.int32)
        with tf.control_dependencies([rows]):
            return model.functions["serving_default"](images=tf.identity(images))

    Counted.functions["serving_default"] = counted
    return Counted


def same(found, expected):
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, **TOLERANCE)


def test_requests_that_come_together_run_together(counted_model, model, sizes):
    # The first request waits for the others, so that they certainly form one batch.
    runner = Runner(counted_model, max_batch_size=8, batch_wait_ms=10_000)
    images = [IMAGES[i % 4 : i % 4 + 1] for i in range(8)]
    requests = [request_of(model, "serving_default", {"images": image}) for image in images]
    sizes.clear()
    for image, found in zip(images, together(runner, requests), strict=True):
        same(found, direct(model, "serving_default", {"images": image}))
    assert sizes == [8]


def test_a_batch_of_one_row_is_no_batch(counted_model, model, sizes):
    runner = Runner(counted_model, max_batch_size=1)
    sizes.clear()
    together(runner, [request_of(model, "serving_default", {"images": IMAGES[:1]})] * 4)
    assert sizes == [1] * 4


def test_more_rows_than_fit_into_a_batch_are_split(counted_model, model, sizes):
    runner = Runner(counted_model, max_batch_size=4)
    images = np.concatenate([IMAGES] * 3)[:11]
    sizes.clear()
    found = runner.run(request_of(model, "serving_default", {"images": images}), LATER)
    assert sum(sizes) == 11 and max(sizes) == 4
    same(found, direct(model, "serving_default", {"images": images}))


def test_a_bad_request_does_not_fail_those_it_is_batched_with(model):
    runner = Runner(model, max_batch_size=6, batch_wait_ms=10_000)
    small = tf.io.encode_png(IMAGES[0, :4]).numpy()
    files = [FILES[0], b"no file", FILES[1], small, FILES[2], FILES[3]]
    name = "encode_bytes_exact"
    requests = [request_of(model, name, {"image_bytes": np.array([file], object)}) for file in files]
    results = together(runner, requests)
    for i, (file, found) in enumerate(zip(files, results, strict=True)):
        if i in (1, 3):
            assert isinstance(found, RequestError) and found.status == 400
        else:
            same(found, direct(model, name, {"image_bytes": np.array([file], object)}))
    # The number in the message is the index of the file in its own request.
    assert str(results[1]) == (
        "assertion failed: [image_bytes must be PNG or JPEG files; this one, counted from 0, is not:] [0]"
    )
    assert str(results[3]).endswith("8 wide; index (from 0) and size of the wrong one:] [0] [4 8]")


@pytest.mark.slow
def test_outputs_of_all_kinds_are_taken_apart(model):
    runner = Runner(model, max_batch_size=4, batch_wait_ms=10_000)
    for name in ("features", "decode_bytes", "manipulate"):
        inputs = inputs_of(model, name)
        expected = direct(model, name, inputs)
        for found in together(runner, [request_of(model, name, inputs)] * 2):
            assert set(found) == set(expected)
            for key, value in expected.items():
                if value.dtype.kind == "f":
                    np.testing.assert_allclose(found[key], value, **TOLERANCE)
                else:
                    np.testing.assert_array_equal(found[key], value)


@pytest.mark.slow
def test_two_models_in_a_process_keep_their_batches_apart(model, conditional):
    # Without unique names, they would share their batching queues.
    runners = [(served, Runner(served, max_batch_size=4)) for served in (model, conditional)]
    for served, runner in runners:
        inputs = inputs_of(served, "encode")
        found = runner.run(request_of(served, "encode", inputs), LATER)
        same(found, direct(served, "encode", inputs))


def test_what_cannot_begin_in_time_does_not_begin(model):
    """With more requests than run at once, some are refused while the others are held up."""
    go = threading.Event()

    class Held:
        signatures = model.signatures
        functions = {**model.functions, "sample": lambda **_: go.wait(60) and {}}

    runner = Runner(Held)
    request = request_of(model, "sample", {"num": np.array(1, np.int32)})

    def run(deadline):
        try:
            return runner.run(request, deadline)
        except RequestError as error:
            return error

    count = (os.cpu_count() or 1) + 3
    with ThreadPoolExecutor(count) as threads:
        futures = [threads.submit(run, time.monotonic() + 0.5) for _ in range(count)]
        late = next(as_completed(futures)).result()
        go.set()
        begun = [future.result() for future in futures if isinstance(future.result(), dict)]
    assert late.status == 504 and "too busy" in str(late)
    assert begun


@pytest.mark.parametrize("name", ["sample", "serving_default"])
def test_requests_run_together_only_as_far_as_their_images_fit(model, name):
    """Of two requests of two images, with room for three, the second waits for the first; one of any size may run."""
    entered, go = threading.Semaphore(0), threading.Event()

    def held(**_):
        entered.release()
        go.wait(60)
        return {}

    class Held:
        signatures = model.signatures
        functions = {**model.functions, name: held}

    runner = Runner(Held, max_batch_size=1, most_images=3)
    inputs = {"num": np.array(2, np.int32)} if name == "sample" else {"images": IMAGES[:2]}
    request = request_of(model, name, inputs)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(runner.run, request, LATER)
        entered.acquire()
        with pytest.raises(RequestError, match="too busy"):
            runner.run(request, time.monotonic() + 0.1)
        go.set()
        first.result()
    runner.run(request_of(model, "sample", {"num": np.array(9, np.int32)}), LATER)


def test_a_large_request_is_not_overtaken_for_ever(model):
    """With room for three images, of which one is taken, one more fits; but not once a request of three waits."""
    entered, go, begun = threading.Event(), threading.Event(), []

    def sample(num, **_):
        begun.append(int(num))
        if not entered.is_set():
            entered.set()
            go.wait(60)
        return {}

    class Held:
        signatures = model.signatures
        functions = {**model.functions, "sample": sample}

    runner = Runner(Held, most_images=3)

    def run(num, deadline):
        return runner.run(request_of(model, "sample", {"num": np.array(num, np.int32)}), deadline)

    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(run, 1, LATER)
        entered.wait(60)
        large = threads.submit(run, 3, LATER)
        patience = time.monotonic() + 30
        with pytest.raises(RequestError, match="too busy"):
            while time.monotonic() < patience:
                run(1, time.monotonic())
        go.set()
        running.result()
        large.result()
    assert begun[-1] == 3


@pytest.mark.parametrize(
    "message,expected",
    [
        (
            "Graph execution error:\n\nDetected at node Assert_3/Assert defined at (most recent call last):\n"
            "<stack traces unavailable>\nassertion failed: [num must not be negative; it is] [-3]\n"
            "\t [[{{node Assert_3/Assert}}]] [Op:__inference_signature_wrapper_7055]",
            "assertion failed: [num must not be negative; it is] [-3]",
        ),
        (
            "Graph execution error:\n\n2 root error(s) found.\n  (0) INVALID_ARGUMENT: assertion failed: [a] [1]\n"
            "\t [[{{node a}}]]\n\t [[b/_5]]\n  (1) INVALID_ARGUMENT: assertion failed: [b]\n\t [[{{node b}}]]",
            "assertion failed: [a] [1]",
        ),
        (
            "Graph execution error:\n\nDetected at node map/DecodeImage defined at (most recent call last):\n"
            "<stack traces unavailable>\njpeg::Uncompress failed. Invalid JPEG data or crop window.\n"
            "\t [[{{node map/DecodeImage}}]]\n\t [[StatefulPartitionedCall]] [Op:__inference_x_9968]",
            "jpeg::Uncompress failed. Invalid JPEG data or crop window.",
        ),
        ("", "The graph refused the inputs."),
    ],
)
def test_errors_of_a_graph_come_without_its_insides(message, expected):
    assert reason(message) == expected
