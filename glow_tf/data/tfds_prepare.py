"""Finds and prepares data sets from TensorFlow Datasets.

Preparation can take hours and fail for lack of a package, a network or a file that must be downloaded by hand. These
are checked first as far as possible, and every error lists the steps to take.
"""

import contextlib
import difflib
import importlib.util
import inspect
import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from typing import Any

import tensorflow_datasets as tfds

from glow_tf.data.source import DataError
from glow_tf.runtime import internals
from glow_tf.runtime.errors import first_line

# The config that a name means in the literature, for data sets with several configs.
SHORT_NAMES = {"celeb_a_hq": "celeb_a_hq/256"}
_OTHER_NAMES = ("people", "folder", "arrays")
# Packages that builders need to read their downloads; without them, they fail after hours of downloading.
_PACKAGES = {"oxford_flowers102": "scipy", "svhn_cropped": "scipy", "lsun": "tensorflow_io"}
_LSUN = (
    "It needs tensorflow-io, which is made for one release of TensorFlow each: prepare it in an environment of its "
    "own, where `pip install tensorflow-io tensorflow-datasets` finds one, and copy the result here. Or export the "
    "images to a folder, and use --dataset=folder with image_size 64 and crop_from 96."
)


def get_builder(name: str, data_dir: str | None) -> Any:
    """Returns the builder for a data set and config.

    Args:
      name: name of the data set, with or without config and version.
      data_dir: directory of the prepared data; None for TensorFlow Datasets' default.

    Raises:
      DataError: on an unknown name or config, or if one of several configs must be chosen.
    """
    # TFDS's form is name/config:version.
    stem, colon, version = name.partition(":")
    version = colon + version
    full_name = SHORT_NAMES.get(stem, stem)
    base_name = full_name.split("/")[0]
    if not base_name.isidentifier():
        raise DataError(_unknown(name))
    try:
        # A builder that exists only as prepared files, without code, has a single config.
        builder_class = tfds.builder_cls(base_name)
        configs = list(builder_class.builder_configs)
        default = getattr(builder_class, "DEFAULT_BUILDER_CONFIG_NAME", None)
    except (tfds.core.DatasetNotFoundError, ValueError):
        configs, default = [], None
    if "/" not in full_name + version and len(configs) > 1:
        if default not in configs:
            raise DataError(
                f"dataset={name} comes in several configs; name one, such as "
                f"--dataset={stem}/{configs[0]}{version}. There are: {_some(configs)}."
            )
        full_name = f"{full_name}/{default}"
    full_name += version
    try:
        return tfds.builder(full_name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise DataError(_unknown(name)) from error
    except Exception as error:  # TFDS raises various exceptions for invalid names, configs and versions.
        config = full_name.partition("/")[2].split(":")[0]
        if config and config not in configs:
            raise DataError(f"{base_name} has no config {config!r}; it has: {_some(configs)}.") from error
        raise DataError(
            f"dataset={name} cannot be loaded from TensorFlow Datasets: {_with_type(error)}. "
            "Check the name, its config and --data_dir."
        ) from error


def _unknown(name):
    known = [*_OTHER_NAMES, *tfds.list_builders(with_community_datasets=False)]
    close = difflib.get_close_matches(name.split("/")[0].lower(), known, n=4, cutoff=0.5)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    return (
        f"there is no data set {name!r}.{meant} It can be 'people' (bundled), 'folder' (a folder "
        "of images, --data_dir), 'arrays' (a .npz or .npy file, --data_dir), or an image data "
        "set of https://www.tensorflow.org/datasets/catalog."
    )


def prepare(builder: Any) -> Any:
    """Downloads and prepares a data set unless it is prepared already; returns the builder of the prepared one.

    TensorFlow Datasets encodes images with TensorFlow, whose devices cannot be configured after that. Hence this is
    done in another process, unless TensorFlow is initialised already.

    Raises:
      DataError: if that fails; the message lists the steps to get the data.
    """
    if builder.is_prepared():
        return builder
    package = _PACKAGES.get(builder.name)
    if package and importlib.util.find_spec(package) is None:
        raise _failure(builder, f"the package {package} is not installed", package)
    unreachable = _unreachable(builder)
    if unreachable:
        raise _failure(builder, unreachable)
    # Builders of other modules are not registered in another process.
    in_another = type(builder).__module__.startswith("tensorflow_datasets.") and not internals.is_initialized()
    failure = _prepare_in_another_process(builder) if in_another else _prepare_here(builder)
    if failure is not None:
        raise _failure(builder, *failure)
    # The given one does not know what another process has prepared.
    return get_builder(_name(builder), _root(builder)) if in_another else builder


def _prepare_here(builder):
    """Returns None or, if it fails, the reason and the missing package, if that is the reason."""
    try:
        builder.download_and_prepare()
    except Exception as error:  # Any kind: network, disk, checksums, missing manual files.
        return _with_type(error), _missing_package(error)
    return None


def _prepare_in_another_process(builder):
    """Returns what `_prepare_here` would."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main(*sys.argv[1:])"
    read, write = os.pipe()
    with open(read, encoding="utf-8") as result:
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", code, _name(builder), _root(builder), str(write)],
                stdin=subprocess.PIPE,
                pass_fds=[write],
            )
        finally:
            os.close(write)
        with process:
            text = result.read()
    if not text:
        return f"its process ended with the code {process.returncode}", None
    return json.loads(text)


def main(name: str, root: str, descriptor: str) -> None:
    """Prepares a data set in a process of its own, and writes what `_prepare_here` returns to a file descriptor.

    The process ends when its standard input is closed, as it is when the program that waits for it is killed.
    """

    def wait_for_end():
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()
    with open(int(descriptor), "w", encoding="utf-8") as result, contextlib.suppress(KeyboardInterrupt):
        json.dump(_prepare_here(get_builder(name, root)), result)


def _failure(builder, reason, package=None):
    version, root = builder.info.full_name, _root(builder)
    full_name = version.rpartition("/")[0]
    command = (
        f'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{full_name}', data_dir='{root}').download_and_prepare()\""
    )
    if package == "tensorflow_io":
        steps = [_LSUN]
    elif package:
        steps = [f"It needs a package: pip install {package}", f"Run again, or prepare it on its own: {command}"]
    elif builder.name == "celeb_a_hq":
        steps = _celeb_a_hq_steps(builder.builder_config.resolution, root, command)
    elif builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        what = " ".join(inspect.cleandoc(builder.MANUAL_DOWNLOAD_INSTRUCTIONS).split())
        steps = [
            f"It has to be downloaded by hand into {root}/downloads/manual: {what}",
            f"Run again, or prepare it on its own: {command}",
        ]
    else:
        steps = _network_steps(builder, root, version, command)
    listed = "".join(f"\n  {number}. {step}" for number, step in enumerate(steps, 1))
    return DataError(
        f"{full_name} is not prepared in {root} (set --data_dir if it is elsewhere), and preparing it failed: "
        f"{reason}. To get it:{listed}"
    )


def _name(builder):
    """Returns the name of a builder with its config and version, in TFDS's form."""
    return ":".join(builder.info.full_name.rsplit("/", 1))


def _root(builder):
    return str(builder.data_dir)[: -len(builder.info.full_name)].rstrip("/\\")


def _celeb_a_hq_steps(resolution, root, command):
    tar = f"{root}/downloads/manual/data{resolution}x{resolution}.tar"
    return [
        f"Get the 30,000 images of CelebA-HQ at {resolution}x{resolution} as png files in one folder IMAGES: "
        "https://github.com/tkarras/progressive_growing_of_gans#preparing-datasets-for-training",
        f"Pack them: mkdir -p {root}/downloads/manual && tar -cf {tar} -C IMAGES .",
        f"Prepare it: {command}",
        f"Or do without steps 2 and 3: --dataset=folder --data_dir=IMAGES --image_size={resolution}",
    ]


def _network_steps(builder, root, version, command):
    files = _files(builder)
    listed = ", ".join(f"{name} from {url}" for url, name in sorted(files.items()))
    by_hand = f" Or put there what it downloads, into {root}/downloads/manual: {listed}; and run again." * bool(files)
    return [
        "With network and disk space here, run again; the download starts over.",
        "Without: on a machine that has network and the same tensorflow-datasets, run "
        + command.replace(f"'{root}'", "'DIR'"),
        f"Copy DIR/{version} from there to {root}/{version} here.{by_hand}",
    ]


def _files(builder):
    """Returns {url: file name} for the downloads of a builder, as far as they are known."""
    names = {url: info.filename for url, info in (builder.url_infos or {}).items() if info.filename}
    if builder.builder_config is None:
        return names
    # The files of all configs are listed together; those of one config contain its number, if any: 32 for "32x32".
    number = re.match(r"\d+", builder.builder_config.name)
    if number is None:
        return names if len(builder.builder_configs) == 1 else {}
    own = re.compile(rf"(?<!\d){number[0]}(?!\d)")
    return {url: name for url, name in names.items() if own.search(name)}


def _unreachable(builder):
    """Returns why nothing can be downloaded, or None. TFDS itself would fail only after ten minutes of retries."""
    files = _files(builder)
    downloads = os.path.join(_root(builder), "downloads")
    begun = os.path.isdir(os.path.join(downloads, builder.name)) or any(
        os.path.exists(os.path.join(downloads, "manual", name)) for name in files.values()
    )
    if begun or urllib.request.getproxies():
        return None
    for host in sorted({urllib.parse.urlsplit(url).hostname for url in files}):
        try:
            socket.getaddrinfo(host, 443)
        except OSError as error:
            return f"{host} cannot be reached ({error.strerror})"
    return None


def _missing_package(error):
    """Returns the name of the missing package that caused an error, or None for any other cause."""
    while error is not None:
        # TFDS wraps import errors in exceptions without the name.
        if isinstance(error, ImportError) and error.name:
            return error.name.split(".")[0]
        error = error.__cause__ or error.__context__
    return None


def _some(names, limit=40):
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + more


def _with_type(error):
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}".rstrip(".: ")
