"""The web site in a real browser: every page, wide and narrow, light and dark, by keyboard, without any network."""

import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted(path.stem for path in (ROOT / "solutions" / "lessons").glob("*.md"))
LOOK = """() => ({
    width: document.documentElement.scrollWidth,
    dark: getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).every(part => part < 60),
    figures: [...document.querySelectorAll(".cell_output img")].map(image => getComputedStyle(image).backgroundColor),
    ids: [...document.querySelectorAll("[id]")].map(node => node.id),
    links: [...document.querySelectorAll("a[href], link[href]")].map(node => node.href),
    images: [...document.images].map(image => [image.alt, image.naturalWidth]),
})"""
THEME = "theme => document.documentElement.dataset.theme === theme"


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """The log is not for the terminal of the tests."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a site built as `make site` does, where every warning of Sphinx is an error."""
    out = tmp_path_factory.mktemp("a site") / "site"
    command = [sys.executable, ROOT / "solutions" / "site" / "build_site.py", "--out", out]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr
    return out


@pytest.mark.parametrize("place", ["a file", "a file/below"])
def test_a_place_that_is_no_folder_is_one_line(tmp_path, place):
    (tmp_path / "a file").write_text("mine")
    command = [sys.executable, ROOT / "solutions" / "site" / "build_site.py", "--out", tmp_path / place]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 1 and re.fullmatch(r"site: .*a file.*\n", result.stderr)
    assert (tmp_path / "a file").read_text() == "mine"


@pytest.fixture(scope="module")
def address(site):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def page(browser):
    page = browser.new_page(viewport={"width": 1200, "height": 800}, color_scheme="light")
    page.set_default_timeout(600_000)
    return page


@pytest.fixture(scope="module")
def seen(site, address, page):
    """{page: what was seen of it, wide and light, then narrow and dark, and what went wrong}, each page loaded once."""
    found, faults, asked = {}, [], []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda response: faults.append(response.url) if response.status >= 400 else None)
    for path in sorted(path for path in site.rglob("*.html") if "_static" not in path.parts):
        name = path.relative_to(site).as_posix()
        page.set_viewport_size({"width": 1200, "height": 800})
        page.emulate_media(color_scheme="light")
        page.goto(address + name)
        page.wait_for_function(THEME, arg="light")
        found[name] = page.evaluate(LOOK)
        page.set_viewport_size({"width": 380, "height": 800})
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(THEME, arg="dark")
        found[name]["narrow"] = page.evaluate(LOOK)
        away = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
        found[name]["faults"] = [*faults, *away]
        faults.clear(), asked.clear()
    page.set_viewport_size({"width": 1200, "height": 800})
    return found


def test_every_page_loads_without_an_error_and_asks_no_other_host(seen):
    assert {f"lessons/{name}.html" for name in LESSONS} < set(seen)
    assert {"index.html", "search.html", "benchmarks.html", "engineers.html", "reference/magnitude.html"} < set(seen)
    assert not {name: page["faults"] for name, page in seen.items() if page["faults"]}


def test_no_page_is_wider_than_a_phone_or_a_desktop(seen):
    assert not {name: page["width"] for name, page in seen.items() if page["width"] > 1200}
    assert not {name: page["narrow"]["width"] for name, page in seen.items() if page["narrow"]["width"] > 380}


def test_pages_are_dark_where_the_system_is_and_figures_stay_on_white(seen):
    assert not [name for name, page in seen.items() if page["dark"] or not page["narrow"]["dark"]]
    for name in LESSONS:
        assert set(seen[f"lessons/{name}.html"]["narrow"]["figures"]) == {"rgb(255, 255, 255)"}


def test_every_image_is_there_and_has_a_text_of_its_own(seen):
    images = [(name, *image) for name, page in seen.items() for image in page["images"]]
    assert len(images) >= 60
    assert not [(name, alt) for name, alt, width in images if len(alt) < 8 or alt.endswith(".png") or not width]


def test_internal_links_and_their_anchors_resolve(site, address, seen):
    broken = []
    for name, page in seen.items():
        for link in page["links"]:
            url, anchor = urldefrag(link)
            target = unquote(url.removeprefix(address).partition("?")[0]) or "index.html"
            inside = url.startswith(address)
            lost = inside and anchor and target in seen and unquote(anchor) not in seen[target]["ids"]
            if lost or (inside and not (site / target).is_file()) or not url.startswith((address, "https://", "http://")):
                broken.append((name, link))
    assert not broken


def test_no_hidden_check_and_no_solution_among_the_downloads(site):
    tests = {folder: "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / folder).glob("test_*.py"))
             for folder in ("tests", "tests/hidden")}  # fmt: skip
    visible, hidden = (set(re.findall(r"^def (test_\w+)", text, flags=re.MULTILINE)) for text in tests.values())
    assert len(hidden - visible) > 50
    for path in [*site.rglob("*.html"), *site.glob("searchindex.js"), *site.rglob("*.ipynb")]:
        text = path.read_text(encoding="utf-8")
        assert not set(re.findall(r"\btest_\w+", text)) & (hidden - visible), path
        assert path.suffix != ".ipynb" or "BEGIN SOLUTION" not in text, path
    assert len({path.name for path in site.rglob("*.ipynb")}) == len(LESSONS)


def test_the_keyboard_reaches_content_navigation_and_search_and_opens_a_solution(page, address, seen):
    page.goto(f"{address}lessons/02_magnitude.html")
    focused = []
    for _ in range(12):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.innerText.trim() || document.activeElement.ariaLabel"))
    assert focused[0] == "Skip to main content"
    assert {"Lessons", "Your own model", "Package", "Benchmarks", "Instructors"} <= set(focused)
    assert any("Search" in text for text in focused if text), focused
    solution = page.locator("details", has_text="Show the solution").first
    code = solution.locator("pre").first
    assert not code.is_visible()
    solution.locator("summary").press("Enter")
    assert code.is_visible() and "kth_smallest" in code.inner_text()


def test_search_finds_a_function_without_a_network(page, address, seen):
    page.goto(f"{address}index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("magnitude_mask")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    found = page.locator("#search-results li a").evaluate_all("links => links.map(link => link.href)")
    assert any("reference/magnitude.html#tinyshrink.magnitude.magnitude_mask" in link for link in found), found


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    command = [sys.executable, ROOT / "solutions" / "site" / "build_site.py", "--out", tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 1 and re.fullmatch("site: .* holds other files: choose an empty folder\n", result.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
