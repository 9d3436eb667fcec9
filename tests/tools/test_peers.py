"""The peers of the benchmark: the processes they run in, and the work they do."""

import math
import os
import pathlib
import subprocess
import sys
import time
from importlib import metadata

import pytest
import tensorflow as tf

from tools import peers
from tools.peers.worker import is_out_of_memory

ROOT = pathlib.Path(__file__).parent.parent.parent
SIZES = {"K": 1, "L": 2, "width": 8, "image_size": 8, "batch_size": 4}
# A fake peer, without any framework.
SERVE = """
import os, signal, sys, time
from tools.peers.worker import serve

def fail():
    raise FloatingPointError("the loss\\nis nan")

def leave():
    print("no more memory", file=sys.stderr)
    sys.stderr.flush()
    os._exit(3)

def chatter():
    print("a library says something")
    os.system("echo and so does a program")
    return 1.5

workloads = {"chatter": chatter, "fail": fail, "leave": leave, "pid": os.getpid, "wait": lambda: time.sleep(600)}
workloads["tell"] = lambda: {"compiled": True, "seconds": {"train": 0.5}}
workloads["kill"] = lambda: os.kill(os.getpid(), signal.SIGKILL)
"""


def worker(end="serve(lambda: workloads)"):
    return peers.Worker("fake", [sys.executable, "-c", SERVE + end])


def gone(pid):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_what_a_library_prints_does_not_disturb():
    with worker() as fake:
        functions = fake.functions()
        assert list(functions) == ["chatter", "fail", "leave", "pid", "wait", "tell", "kill"]
        assert [functions["chatter"]() for _ in range(3)] == [1.5] * 3


def test_an_exception_is_one_line_with_the_name_and_the_peer_goes_on():
    with worker() as fake:
        functions = fake.functions()
        with pytest.raises(ChildProcessError, match="^fake failed in fail: FloatingPointError: the loss is nan$"):
            functions["fail"]()
        with pytest.raises(ChildProcessError, match="^fake failed in fly: ValueError: 'fly' is not one of chatter, "):
            fake.run("fly")
        assert functions["chatter"]() == 1.5


def test_a_result_may_be_more_than_a_number():
    with worker() as fake:
        assert fake.functions()["tell"]() == {"compiled": True, "seconds": {"train": 0.5}}


def test_what_takes_too_long_is_ended():
    with worker() as fake:
        functions = fake.functions(timeout=60)
        assert functions["chatter"](timeout=60) == 1.5
        with pytest.raises(ChildProcessError, match="^fake took more than 1 s in wait.$"):
            functions["wait"](timeout=1)
        with pytest.raises(ChildProcessError, match="^fake was ended by SIGKILL in chatter: "):
            functions["chatter"]()


@pytest.mark.parametrize("gpus", [True, False])
def test_a_process_sees_gpus_where_it_is_to_compute_on_them(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    tell = "import os; serve(lambda: {'seen': lambda: os.environ['CUDA_VISIBLE_DEVICES']})"
    with peers.Worker("fake", [sys.executable, "-c", SERVE + tell], gpus=gpus) as fake:
        assert fake.functions()["seen"]() == ("0" if gpus else "")


@pytest.mark.parametrize(
    "workload,error",
    [
        ("leave", "^fake ended with exit code 3 in leave: no more memory$"),
        ("kill", "^fake was ended by SIGKILL in kill: it wrote nothing to stderr.$"),
    ],
)
def test_the_end_of_a_process_is_an_error_then_and_later(workload, error):
    with worker() as fake:
        functions = fake.functions()
        with pytest.raises(ChildProcessError, match=error):
            functions[workload]()
        with pytest.raises(ChildProcessError, match="^fake .* in chatter: "):
            functions["chatter"]()


MEMORY = """
class OutOfMemoryError(RuntimeError):
    "Stands for PyTorch's."

def torch(): raise OutOfMemoryError("tried to allocate 2 GiB")
def python(): raise MemoryError
def inside():
    try: torch()
    except RuntimeError: raise ValueError("the compiler failed")
def other(): raise RuntimeError("not out of memory")
serve(lambda: {"torch": torch, "python": python, "inside": inside, "other": other})
"""


def test_a_lack_of_memory_is_told_by_the_kind_of_error():
    with worker(MEMORY) as fake:
        functions = fake.functions()
        for name in ("torch", "python", "inside"):
            with pytest.raises(peers.OutOfMemoryError):
                functions[name]()
        with pytest.raises(ChildProcessError) as caught:
            functions["other"]()
        assert not isinstance(caught.value, peers.OutOfMemoryError)


def test_tensorflow_lacks_memory():
    assert is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"))
    assert not is_out_of_memory(tf.errors.InvalidArgumentError(None, None, "OOM when allocating"))


@pytest.mark.parametrize(
    "end,error",
    [
        ("serve(fail)", "^fake failed in its start: FloatingPointError: the loss is nan$"),
        ("import no_such_package", "^fake ended with exit code 1 in its start: ModuleNotFoundError: .*no_such_package"),
    ],
)
def test_a_peer_that_does_not_start(end, error):
    with worker(end) as fake, pytest.raises(ChildProcessError, match=error):
        fake.functions()


def test_a_process_ends_with_the_context():
    with worker() as fake:
        pid = fake.functions()["pid"]()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_ends_with_its_parent():
    code = "import os, sys\nfrom tools import peers\nfake = peers.Worker('fake', [sys.executable, '-c', sys.argv[1]])\n"
    code += "print(fake.functions()['pid'](), flush=True)\nos._exit(1)"
    arguments = [sys.executable, "-c", code, SERVE + "serve(lambda: workloads)"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert gone(int(done.stdout)), done.stderr


def test_what_is_not_installed_is_left_out(monkeypatch):
    def version(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", version)
    with peers.start(**SIZES) as (functions, missing):
        assert functions == {}
        assert set(missing) == set(peers.PACKAGES)
        assert missing["pytorch"] == "torch is not installed: pip install torch"
        assert missing["nflows"] == "nflows and torch are not installed: pip install nflows torch"


@pytest.mark.parametrize(
    "change,error",
    [
        ({"names": ["glow"]}, "'glow' is not a peer; there are tfb.Glow, pytorch"),
        ({"image_size": 6}, "image_size=6 must be a multiple of 2\\^L = 4"),
        ({"width": 0}, "width=0 must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(change, error):
    with pytest.raises(ValueError, match=error), peers.start(**{**SIZES, **change}):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("name", peers.PACKAGES)
def test_a_peer_trains_evaluates_and_samples(name):
    with peers.start(**SIZES, names=[name]) as (functions, missing):
        if name in missing:
            pytest.skip(missing[name])
        assert peers.version(name).startswith(f"{peers.PACKAGES[name][0]} ")
        workloads = functions[name]
        assert list(workloads) == ["train", "likelihood", "sample"]
        before = workloads["likelihood"]()
        losses = [workloads["train"]() for _ in range(20)]
        assert all(map(math.isfinite, losses)) and sum(losses[-5:]) < sum(losses[:5])
        assert workloads["likelihood"]() < before
        assert math.isfinite(workloads["sample"]())


def test_coupling_networks_in_bfloat16_learn(pytorch):
    import torch

    torch.set_default_dtype(torch.float32)
    losses = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        workloads = pytorch.build(peers.Model(**SIZES, threads=1, precision=precision))
        losses[precision] = [workloads["train"]() for _ in range(20)]
    assert sum(losses["bfloat16"][-5:]) < sum(losses["bfloat16"][:5])
    # The networks begin with zeros: the effect of their precision shows only later.
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"]


def test_all_is_computed_where_the_images_are(pytorch):
    import torch

    # The meta device holds no values: a tensor created on the CPU along the way could not be added to one of its own.
    flow = random_glow(pytorch).to("meta")
    x = torch.rand(2, 3, 8, 8, device="meta")
    latents, log_det = flow.encode(x)
    assert log_det.is_meta and flow.decode(latents).is_meta
    log_det.sum().backward()


@pytest.mark.slow
def test_compiled_steps_give_the_same(pytorch):
    import torch

    flow = random_glow(pytorch, K=2)
    x = torch.rand(3, 3, 8, 8) - 0.5
    expected, log_det = flow.encode(x)
    flow.set_compiled(True)
    found, found_log_det = flow.encode(x)
    torch.testing.assert_close([*found, found_log_det], [*expected, log_det])
    torch.testing.assert_close(flow.decode(found), x, rtol=0, atol=1e-10)


@pytest.fixture
def pytorch():
    """The peer's module, with float64 as PyTorch's default dtype."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    from tools.peers import pytorch

    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield pytorch
    torch.set_default_dtype(torch.float32)


def random_glow(pytorch, **sizes):
    import torch

    flow = pytorch.Glow(peers.Model(**{**SIZES, **sizes}, threads=1))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return flow


def test_images_come_back_from_their_latents(pytorch):
    import torch

    flow = random_glow(pytorch, K=2)
    x = torch.rand(3, 3, 8, 8) - 0.5
    latents, _ = flow.encode(x)
    assert flow.latent_shapes == [(6, 4, 4), (24, 2, 2)]
    assert [tuple(z.shape[1:]) for z in latents] == flow.latent_shapes
    torch.testing.assert_close(flow.decode(latents), x, rtol=0, atol=1e-10)
    noise = [torch.randn_like(z) for z in latents]
    torch.testing.assert_close(flow.encode(flow.decode(noise))[0], noise, rtol=0, atol=1e-10)


def test_the_log_det_is_that_of_the_jacobian(pytorch):
    import torch

    flow = random_glow(pytorch, image_size=4)
    x = torch.rand(2, 3, 4, 4) - 0.5
    _, log_det = flow.encode(x)
    for image, expected in zip(x, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda flat: torch.cat([z.flatten() for z in flow.encode(flat.reshape(1, 3, 4, 4))[0]]), image.flatten()
        )
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], expected)


def test_every_parameter_has_a_gradient(pytorch):
    import torch

    flow = random_glow(pytorch)
    latents, log_det = flow.encode(torch.rand(2, 3, 8, 8))
    (log_det.sum() - sum(z.square().sum() for z in latents)).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in flow.parameters())


def test_it_is_as_large_as_ours(pytorch):
    from glow_tf.models import presets
    from glow_tf.models.flow import Flow

    # Large enough that the networks' parameters for the image border do not matter.
    model = peers.Model(**{**SIZES, "width": 512}, threads=1)
    theirs = sum(parameter.numel() for parameter in pytorch.Glow(model).parameters())
    flow = Flow(presets.glow((8, 8, 3), model.K, model.L, model.width))
    assert theirs == pytest.approx(sum(math.prod(v.shape) for v in flow.trainable_variables), rel=0.03)
