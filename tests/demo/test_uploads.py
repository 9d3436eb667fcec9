"""Uploaded files are kept for a while, and in limited number and size."""

import asyncio
import pathlib

import pytest

pytest.importorskip("multipart", reason="Gradio is not installed")

from starlette.requests import Request  # noqa: E402

from glow_tf.demo.uploads import Uploads  # noqa: E402


def form(name, content, filename):
    """A request with a form of one file."""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'.encode()

    async def receive():
        return {"type": "http.request", "body": head + content + b"\r\n--b--\r\n", "more_body": False}

    return Request({"type": "http", "headers": [(b"content-type", b"multipart/form-data; boundary=b")]}, receive)


def store(uploads, *contents, filename="a.png"):
    async def stored():
        return [await uploads.store(form("files", content, filename)) for content in contents]

    return asyncio.run(stored())


def test_a_file_is_kept_until_it_is_deleted(tmp_path):
    deleted = []
    uploads = Uploads(tmp_path / "uploads", deleted.append)
    first, second = store(uploads, b"1", b"2")
    assert pathlib.Path(first).read_bytes() == b"1" and pathlib.Path(second).read_bytes() == b"2"
    assert first in uploads and second in uploads and str(tmp_path) not in uploads
    for _ in range(2):
        uploads.delete(first)
    assert deleted == [first] and first not in uploads
    assert [path.read_bytes() for path in tmp_path.rglob("*.png")] == [b"2"]


def test_the_oldest_give_way(tmp_path):
    uploads = Uploads(tmp_path, print, most_bytes=10)
    paths = store(uploads, b"1234", b"567", b"890", b"abcd")
    assert [path in uploads for path in paths] == [False, True, True, True]
    (large,) = store(uploads, bytes(11))
    assert large not in uploads
    assert not list(tmp_path.iterdir())


def test_the_oldest_give_way_to_further_files(tmp_path):
    uploads = Uploads(tmp_path, print, most_files=2)
    paths = store(uploads, b"1", b"2", b"3")
    assert [path in uploads for path in paths] == [False, True, True]
    assert len(list(tmp_path.iterdir())) == 2


def test_files_that_nobody_reads_are_deleted_after_a_while(tmp_path):
    deleted = []
    uploads = Uploads(tmp_path, deleted.append, keep_s=0.2)

    async def stored():
        path = await uploads.store(form("files", b"1", "a.png"))
        assert path in uploads
        while path in uploads:
            await asyncio.sleep(0.02)
        return path

    path = asyncio.run(asyncio.wait_for(stored(), timeout=20))
    assert deleted == [path] and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("größe 1.png", "größe 1.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\cat.jpg", "cat.jpg"),
        ("..", "picture"),
        ("", "picture"),
        ("a" * 300 + ".png", "a" * 56 + ".png"),
        ("<b>\0.png", "b.png"),
    ],
)
def test_names_are_those_given_without_folders(tmp_path, given, expected):
    (path,) = store(Uploads(tmp_path, print), b"", filename=given)
    assert pathlib.Path(path).name == expected
    assert pathlib.Path(path).parent.parent == tmp_path


def test_only_a_single_file_of_the_right_name(tmp_path):
    with pytest.raises(ValueError, match="a single file called `files`"):
        asyncio.run(Uploads(tmp_path, print).store(form("others", b"1", "a.png")))
    assert not list(tmp_path.iterdir())
