"""The page in a real browser: what is drawn becomes the data set's pixels, and both networks answer as in Python."""

import re
import shutil
import socket
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from scipy import ndimage
from typer.testing import CliRunner

from tinyshrink import cli, data, deploy
from tinyshrink import page as pages

THREE = [(0.15, 0.1), (0.5, 0), (0.8, 0.12), (0.8, 0.35), (0.4, 0.48), (0.8, 0.6), (0.85, 0.85), (0.5, 1), (0.1, 0.9)]
STROKES = {  # in a square of side 1, as people draw them
    1: [[(0.3, 0.2), (0.5, 0), (0.5, 1)]],
    2: [[(0.1, 0.25), (0.2, 0.08), (0.5, 0), (0.8, 0.1), (0.85, 0.3), (0.6, 0.6), (0.1, 1), (0.9, 1)]],
    3: [THREE],
    4: [[(0.5, 0), (0.1, 0.6), (0.9, 0.6)], [(0.7, 0.3), (0.7, 1)]],
    7: [[(0.1, 0), (0.9, 0), (0.4, 1)]],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, need):
    need("npm", "npm")
    path = tmp_path_factory.mktemp("page")
    pages.make(path, epochs=6, progress=False)
    return path


@pytest.fixture(scope="module")
def address(folder):
    with pages.server(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@contextmanager
def opened(browser, address, width=1200, scheme="light"):
    """The page, loaded. In the end: nothing went wrong in it, it is no wider than its window, it asked no other host."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(120_000)
    page, faults, asked = context.new_page(), [], []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    ready(page)
    yield page
    assert not faults
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert all(url.startswith((address, "data:")) for url in asked), asked
    context.close()


def ready(page):
    page.wait_for_selector("body[data-state=ready]")


def draw(page, strokes):
    box = page.locator("#pad").bounding_box()
    for stroke in strokes:
        for number, (x, y) in enumerate(stroke):
            page.mouse.move(box["x"] + box["width"] * (0.3 + 0.4 * x), box["y"] + box["height"] * (0.2 + 0.6 * y), steps=3)
            page.mouse.down() if number == 0 else None
        page.mouse.up()
    ready(page)


def outputs(folder, pixels):
    """{name: logits} of both networks for pixels (N, 64) of 0 to 16, by onnxruntime in Python."""
    digits = data.load("digits")
    x = (torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16 - digits.mean) / digits.std
    return {name: deploy.load(folder / f"{name}.onnx")(x) for name in ("original", "compressed")}


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (375, "dark")])
def test_a_drawn_digit_is_read_by_both_networks_as_in_python(browser, address, folder, width, scheme):
    with opened(browser, address, width, scheme) as page:
        draw(page, STROKES[3])
        last = page.evaluate("tinyshrink.last")
        expected = outputs(folder, last["pixels"])
        for name in ("original", "compressed"):
            torch.testing.assert_close(torch.tensor([last[name]]), expected[name], atol=1e-3, rtol=0)
            card = page.locator(f"#{name}")
            assert card.locator(".digit").inner_text() == str(expected[name].argmax().item())
            shares = [float(re.sub("[>%]", "", share)) for share in card.locator(".bars span:last-child").all_inner_texts()]
            torch.testing.assert_close(torch.tensor(shares), 100 * expected[name][0].softmax(0), atol=1.01, rtol=0)
            assert card.locator(".bytes").inner_text() == f"{(folder / f'{name}.onnx').stat().st_size:,}"
            assert 0 < float(card.locator(".ms").inner_text()) < 1000
        assert "read a 3" in page.locator("#result").inner_text()
        page.get_by_role("button", name="Clear").click()
        assert page.locator("#result").inner_text() == "Draw a digit, or choose a sample."
        assert page.locator("#compressed .digit").inner_text() == "–"


def test_the_keyboard_chooses_scans_which_reach_the_networks_unchanged(browser, address):
    digits = data.load("digits")
    with opened(browser, address) as page:
        for label in (0, 7):
            page.get_by_role("button", name=f"Sample digit {label}").press("Enter")
            ready(page)
            pixels = page.evaluate("tinyshrink.last.pixels")
            x = (torch.tensor(pixels).view(1, 8, 8) / 16 - digits.mean[0]) / digits.std[0]
            same = (digits.test.x - x).abs().amax((1, 2, 3)) < 1e-4
            assert digits.test.y[same].tolist() == [label]
            assert re.search(rf"\b{label}\b", page.locator("#result").inner_text())


def test_drawings_of_any_size_and_place_become_the_same_pixels_of_the_data_set(browser, address, folder):
    with opened(browser, address) as page:
        for digit, strokes in STROKES.items():
            found = []
            for scale, left, top in ((240, 40, 40), (90, 200, 10), (310, 5, 5)):
                points = [[[left + scale * x, top + scale * y] for x, y in stroke] for stroke in strokes]
                found.append(page.evaluate("strokes => [...tinyshrink.toPixels(strokes)]", points))
            pixels = np.array(found).reshape(-1, 8, 8)
            assert pixels.min() == 0 and pixels.max() >= 14 and pixels[:, 0].max() > 4 and pixels[:, -1].max() > 4
            assert np.abs(pixels - pixels[0]).max() <= 3
            assert (outputs(folder, pixels)["compressed"].argmax(1) == digit).all(), digit
        dot = page.evaluate("[...tinyshrink.toPixels([[[7, 300]]])]")
        assert sum(dot) > 4 and not any(dot[:8]), "one tap is a dot in the middle"


def test_real_digits_drawn_again_are_read(browser, address, folder):
    """Each scan is enlarged, thinned to the middle of its lines, and these points are drawn with the page's pen."""
    test = data.load("digits").test
    with opened(browser, address) as page:
        pixels = []
        for image in test.x[:100, 0].numpy():
            ink = np.pad(ndimage.zoom(image, 8, order=1) > 0.4, 8)  # 7 of 16
            distance = ndimage.distance_transform_edt(ink)
            middle = np.argwhere(ink & (distance >= ndimage.maximum_filter(distance, 3) - 0.5))
            dots = [[[float(x), float(y)]] for y, x in middle]
            pixels.append(page.evaluate("strokes => [...tinyshrink.toPixels(strokes)]", dots))
    right = {name: (found.argmax(1) == test.y[:100]).float().mean() for name, found in outputs(folder, pixels).items()}
    assert min(right.values()) > 0.8, right


def test_the_compressed_file_is_ten_times_smaller_and_as_good(folder):
    size = {name: (folder / f"{name}.onnx").stat().st_size for name in ("original", "compressed")}
    assert size["compressed"] < size["original"] / 10
    test = data.load("digits").test
    right = {name: deploy.accuracy(deploy.load(folder / f"{name}.onnx"), test) for name in size}
    assert right["original"] > 0.95 and right["compressed"] > right["original"] - 0.02


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other files"):
        pages.make(tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"


def test_a_port_in_use_is_one_line_that_says_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} cannot be used .*--port"):
            pages.server(tmp_path, port)


def test_a_busy_port_is_said_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "make", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(cli.app, ["page", "--out", str(tmp_path / "page"), "--serve", "--port", str(port)])
    assert result.exit_code == 2 and f"port {port} cannot be used" in " ".join(result.stderr.split())
    assert CliRunner().invoke(cli.app, ["page", "--serve", "--port", "99999"]).exit_code == 2


def test_port_0_shows_the_port_that_it_became_and_ctrl_c_is_a_good_end_of_serving_only(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    page = lambda: CliRunner().invoke(cli.app, ["page", "--out", str(tmp_path / "page"), "--serve", "--port", "0"])
    monkeypatch.setattr(pages, "make", lambda folder: folder)
    monkeypatch.setattr(pages.ThreadingHTTPServer, "serve_forever", stop)
    result = page()
    assert result.exit_code == 0 and re.search(r"http://127\.0\.0\.1:[1-9]\d+, stop with Ctrl-C", result.output)
    monkeypatch.setattr(pages, "make", stop)
    assert page().exit_code != 0, "a training that was stopped has made no page"


@pytest.mark.parametrize(("npm", "said"), [(None, "there is no npm"), ("false", "npm cannot fetch")])
def test_without_npm_or_its_package_one_line_says_what_to_do(monkeypatch, tmp_path, npm, said):
    monkeypatch.setattr(pages.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    which = shutil.which
    monkeypatch.setattr(pages.shutil, "which", lambda name: npm and which(npm))
    result = CliRunner().invoke(cli.app, ["page", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
    message = " ".join(result.stderr.split())
    assert said in message and "npm pack onnxruntime-web@" in message
