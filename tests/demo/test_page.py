"""The page in a real browser: `glow demo` as users run it, each of its controls, and what it then shows."""

import contextlib
import functools
import io
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import urllib.parse

import numpy as np
import pytest
from PIL import Image

from tests.saved_models import ATTRIBUTES, saved

pytest.importorskip("gradio", reason="Gradio is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect

ROOT = pathlib.Path(__file__).parent.parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("There is no Chromium", allow_module_level=True)

OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PICTURES = "([selector, before]) => [...document.querySelectorAll(selector + ' img')].map((img) => img.src)"
ARE_THERE = "[...document.querySelectorAll(selector + ' img')].every((img) => img.complete && img.naturalWidth)"
DIFFER = f"([selector, before]) => {ARE_THERE} && String(({PICTURES})([selector])) !== String(before)"
AGREE = f"([selector, before]) => {ARE_THERE} && String(({PICTURES})([selector])) === String(before)"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Starts servers on demand: maps a small model's name, or "pretrained" for no flags, to the address of its page."""
    folder, processes = tmp_path_factory.mktemp("served"), {}

    @functools.cache
    def address(name):
        flags = [] if name == "pretrained" else [f"--saved_model={saved(name)}"]
        processes[name] = _start(flags, folder / name)
        return _address(processes[name])

    try:
        yield address
        for name, process in processes.items():
            _assert_it_ends(process, signal.SIGINT, folder / name)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def _start(flags, folder):
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "tools.demo", "--port=0", "--nobrowser", *flags],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=(folder / "stderr").open("w"),
        text=True,
    )


def _address(process):
    for line in process.stdout:
        if found := re.search(r"The page is at (http://\S+)", line):
            return found[1]
    raise AssertionError("The page did not start.")


def _assert_it_ends(process, stop, folder):
    """Checks that the server exits with code 0 on a signal, and leaves nothing behind."""
    process.send_signal(stop)
    assert process.wait(timeout=30) == 0
    assert [path.name for path in folder.iterdir()] == ["stderr"]
    assert "Traceback" not in (folder / "stderr").read_text()


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, servers, request, tmp_path):
    """Opens a page at one of its tabs; fails in the end if there was an error, or a request to another host."""
    troubles = []
    page = chromium.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(20_000)

    def asked(what):
        address = urllib.parse.urlparse(what.url)
        if address.scheme not in ("data", "blob") and address.hostname != "127.0.0.1":
            troubles.append(f"asked {what.url}")

    page.on("request", asked)
    page.on("requestfailed", lambda what: troubles.append(f"failed {what.url}: {what.failure}"))
    page.on("response", lambda what: what.status < 400 or troubles.append(f"status {what.status} of {what.url}"))
    page.on("console", lambda what: what.type == "error" and troubles.append(f"console: {what.text}"))
    page.on("pageerror", lambda what: troubles.append(f"error: {what}"))

    def go(server, tab):
        page.goto(servers(server))
        page.get_by_role("tab", name=tab).click()
        return page

    yield go
    folder = pathlib.Path(os.environ.get("GLOW_TF_SCREENSHOTS", tmp_path))
    page.screenshot(path=folder / f"{request.node.name.removeprefix('test_')}.png", full_page=True)
    # Closing the page aborts its open streams, which would count as failed requests.
    found = list(troubles)
    page.close()
    assert not found


def pictures(page, selector):
    """The sources of the pictures in a part of the page: data URLs, which hold the pictures themselves."""
    page.locator(f"{selector} img").first.wait_for()
    return page.evaluate(PICTURES, [selector, None])


@contextlib.contextmanager
def changing(page, selector):
    """Checks that the code inside changes the pictures in a part of the page."""
    before = pictures(page, selector)
    yield
    page.wait_for_function(DIFFER, arg=[selector, before])


@contextlib.contextmanager
def dragging(page, slider, to):
    """Drags a slider to a fraction of its length with the mouse, and releases it at the end of the block."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    low, high, value = (float(slider.evaluate(f"(range) => range.{key}")) for key in ("min", "max", "value"))
    # The centre of the thumb never reaches the ends of the slider.
    thumb, y = 16, box["y"] + box["height"] / 2

    def x(fraction):
        return box["x"] + thumb / 2 + fraction * (box["width"] - thumb)

    page.mouse.move(x((value - low) / (high - low)), y)
    page.mouse.down()
    page.mouse.move(x(to), y, steps=8)
    yield
    page.mouse.up()


def choose(page, selector, option):
    page.locator(f"{selector} input").click()
    page.get_by_role("option", name=option).click()


def upload(page, selector, name, data):
    files = {"name": name, "mimeType": "image/png", "buffer": data}
    page.locator(f"{selector} input[type=file]").set_input_files(files)


def png(seed=0, size=(40, 60)):
    """A picture of a few large, random squares."""
    squares = np.random.default_rng(seed).integers(0, 256, [4, 4, 3], np.uint8)
    file = io.BytesIO()
    Image.fromarray(squares).resize(size, Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


@pytest.mark.slow
def test_sample(visit):
    page = visit("conditional", "Sample")
    shown = "#samples"
    first = pictures(page, shown)
    assert len(first) == 16
    temperature = page.locator("#temperature input[type=range]")
    with changing(page, shown), dragging(page, temperature, 1.0):
        # The pictures change before the mouse is released.
        page.wait_for_function(DIFFER, arg=[shown, first])
        before_release = pictures(page, shown)
        page.mouse.move(0, 0)
        page.wait_for_function(DIFFER, arg=[shown, before_release])
    temperature.fill("0.7")
    page.wait_for_function(AGREE, arg=[shown, first])
    with changing(page, shown):
        page.locator("#dice").click()
    seed = page.locator("#seed input")
    expect(seed).not_to_have_value("0")
    with changing(page, shown):
        seed.fill("5")
    seed.fill("0")
    page.wait_for_function(AGREE, arg=[shown, first])
    with changing(page, shown):
        choose(page, "#class", "Class 2")
    choose(page, "#class", "All in turn")
    page.wait_for_function(AGREE, arg=[shown, first])
    page.locator("#count input[type=number]").fill("5")
    expect(page.locator(f"{shown} img")).to_have_count(5)
    # Too large a number is reduced to the maximum.
    page.locator("#count input[type=number]").fill("1000")
    expect(page.locator(f"{shown} img")).to_have_count(64)


@pytest.mark.slow
def test_small_pictures_are_enlarged_sharply(visit):
    page = visit("conditional", "Sample")
    first = page.locator("#samples img").first
    assert first.evaluate("(img) => getComputedStyle(img).imageRendering") == "pixelated"
    width, height = first.evaluate("(img) => [img.clientWidth, img.clientHeight]")
    assert width == height
    assert width % 8 == 0 and width >= 64


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(390, 844), (320, 568)])
def test_all_of_the_page_is_on_a_phone(visit, width, height):
    page = visit("conditional", "Sample")
    page.set_viewport_size({"width": width, "height": height})
    for name in ("Sample", "Reconstruct", "Interpolate", "Attributes"):
        tab = page.get_by_role("tab", name=name)
        expect(tab).to_be_in_viewport(ratio=1)
        assert tab.evaluate("(tab) => tab.scrollWidth <= tab.clientWidth"), f"{name} is cut."
        tab.click()
        expect(page.get_by_role("tabpanel").locator("visible=true").locator("img").first).to_be_visible()
        beyond = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(beyond) == 0, f"{name} is wider than the screen."


@pytest.mark.slow
def test_reconstruct(visit):
    page = visit("conditional", "Reconstruct")
    shown = "#reconstruction"
    bits = page.locator("#reconstruction .facts b").first
    expect(bits).to_have_text(re.compile(r"^\d+\.\d\d$"))
    expect(page.locator("#reconstruction figcaption")).to_have_text(["Original", "Reconstruction"])
    chosen = page.locator("#original-examples button[aria-pressed=true]")
    with changing(page, shown):
        page.get_by_role("button", name="Example 4", exact=True).locator("visible=true").click()
    expect(chosen).to_have_attribute("data-index", "3")
    with changing(page, shown):
        upload(page, "#original-file", "mine.png", png())
    expect(chosen).to_have_count(0)
    before, found = pictures(page, shown), bits.inner_text()
    assert before[0] == before[1]
    expect(page.locator("#reconstruction .facts b").last).to_have_text("0 of 255")
    # The likelihood depends on the class.
    choose(page, "#original-label", "Class 2")
    expect(bits).not_to_have_text(found)
    upload(page, "#original-file", "notes.png", b"milk, eggs")
    expect(page.locator("#original-note")).to_contain_text("notes.png cannot be read as a picture")
    assert pictures(page, shown) == before
    with changing(page, shown):
        upload(page, "#original-file", "other.png", png(1, (50, 40)))
    expect(page.locator("#original-note")).to_have_text(
        "Cropped to the centre: 20% of the width is left out, at the left and right."
    )
    with changing(page, shown):
        upload(page, "#original-file", "square.png", png(2, (30, 30)))
    expect(page.locator("#original-note")).to_have_text("")


@pytest.mark.slow
def test_interpolate(visit):
    page = visit("conditional", "Interpolate")
    between, way, fraction = "#between", "#way", page.locator("#fraction input[type=range]")
    assert len(pictures(page, way)) == 9
    middle = pictures(page, between)
    with dragging(page, fraction, 1.0):
        page.wait_for_function(DIFFER, arg=[between, middle])
        expect(page.locator("#between figcaption")).to_have_text("100% of the way")
        page.wait_for_function(AGREE, arg=[between, pictures(page, way)[-1:]])
    fraction.fill("0")
    page.wait_for_function(AGREE, arg=[between, pictures(page, way)[:1]])
    with changing(page, between), changing(page, way):
        page.locator("#from-examples button").nth(5).click()
    with changing(page, way):
        page.locator("#to-examples button").nth(2).click()
    for end in ("from", "to"):
        with changing(page, way):
            upload(page, f"#{end}-file", "mine.png", png(len(end)))
        with changing(page, way):
            choose(page, f"#{end}-label", "Class 1")
        upload(page, f"#{end}-file", "notes.png", b"")
        expect(page.locator(f"#{end}-note")).to_contain_text("cannot be read")


@pytest.mark.slow
def test_attributes(visit):
    page = visit("conditional", "Attributes")
    shown = "#changed"
    first = pictures(page, shown)
    sliders = page.locator("#sliders input[type=range]")
    expect(page.locator("#sliders label")).to_have_text(["Smiling", "Wearing Hat", "Dark skin"])
    for i in range(len(ATTRIBUTES["conditional"])):
        before = pictures(page, shown)
        with dragging(page, sliders.nth(i), 1.0 if i % 2 else 0.0):
            # The pictures change before the mouse is released.
            page.wait_for_function(DIFFER, arg=[shown, before])
        assert pictures(page, shown)[0] == first[0]
    together = pictures(page, shown)
    with changing(page, shown):
        sliders.first.fill("0")
    page.locator("#reset").click()
    page.wait_for_function(AGREE, arg=[shown, first])
    for i in range(len(ATTRIBUTES["conditional"])):
        expect(sliders.nth(i)).to_have_value("0")
    with changing(page, shown):
        page.locator("#base-examples button").nth(7).click()
    with changing(page, shown):
        upload(page, "#base-file", "mine.png", png())
    with changing(page, shown):
        sliders.first.fill("-1")
    # With all sliders at 0 the class would make no difference: encoding and decoding returns the picture itself.
    with changing(page, shown):
        choose(page, "#base-label", "Class 2")
    upload(page, "#base-file", "notes.png", b"milk, eggs")
    expect(page.locator("#base-note")).to_contain_text("cannot be read")
    assert together != pictures(page, shown)


@pytest.mark.slow
@pytest.mark.parametrize("tab", ["Sample", "Reconstruct", "Interpolate", "Attributes"])
def test_without_flags_it_shows_the_pretrained_model(visit, tab):
    page = visit("pretrained", tab)
    expect(page.locator(".banner")).to_contain_text("16 × 16 pixels")
    expect(page.locator(".crowd img")).to_have_count(8)
    expect(page.get_by_role("tabpanel").locator("visible=true").locator("img").first).to_be_visible()
    # The pretrained model has no classes.
    expect(page.locator("#class")).to_have_count(0)
    if tab == "Attributes":
        expect(page.locator("#sliders input[type=range]")).to_have_count(12)
        with changing(page, "#changed"), dragging(page, page.get_by_label("range slider for Smiley yellow"), 1.0):
            pass


@pytest.mark.slow
def test_a_grey_model_without_attributes(chromium, tmp_path):
    process = _start([f"--saved_model={saved('grey')}", "--host=localhost"], tmp_path / "served")
    try:
        page = chromium.new_page()
        address = _address(process)
        assert address.startswith("http://localhost:")
        page.goto(address)
        page.get_by_role("tab", name="Attributes").click()
        expect(page.locator("#no-attributes")).to_contain_text("glow export --attributes=attributes.npz")
        page.get_by_role("tab", name="Reconstruct").click()
        with changing(page, "#reconstruction"):
            upload(page, "#original-file", "mine.png", png())
        # The server ends even while a page is connected.
        _assert_it_ends(process, signal.SIGTERM, tmp_path / "served")
        page.close()
    finally:
        process.kill()
        process.communicate()
