"""The page: what is in it, what cannot get into it, and what a browser shows."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from tests.report import views
from wsrpn.report import slide_page, slide_view

FOUND = np.zeros((40, 40), dtype=bool)
FOUND[29:33, 20:24] = True
_DEED = "document.body.dataset.evil=1"
EVIL = f"""</script><script>{_DEED}</script><img src=x onerror="{_DEED}">'"&amp;"""


def entry(name="slide", seed=0):
    label = np.zeros((40, 40))
    label[30:32, 20:23] = 1
    score = np.clip(np.random.default_rng(seed).normal(0.4, 0.2, (40, 40)) + label, 0, 1)
    mask = np.hypot(*(np.indices((40, 40)) - 20)) < 18
    one = views.view(mask, score=score, label=label, found=FOUND, name=name,
                     pitch=(2500.0, 2500.0), origin=(0.0, 0.0), extent=(10**5, 10**5))  # fmt: skip
    return slide_page.entry(one)


def decoded(source):
    return Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1])))


def test_the_heatmap_in_the_page_has_a_pixel_for_every_cell_in_its_colour():
    mask = np.ones((5, 7), dtype=bool)
    mask[2, 3] = False
    score = np.linspace(-0.2, 1.2, 35).reshape(5, 7)
    one = views.view(mask, score=score)
    image = np.asarray(decoded(slide_page.entry(one)["heat"]["src"]).convert("RGBA")).astype(int)
    assert image.shape == (5, 7, 4)
    assert image[2, 3, 3] == 0
    expected = slide_view.paint(one.heat, one.colour).astype(int)
    np.testing.assert_allclose(image[mask], expected[mask], atol=4)


def test_outlines_in_the_page_enclose_the_area_that_they_had():
    path = entry()["tumour"]
    corners = [tuple(map(float, c.split())) for c in re.findall(r"[\d.]+ [\d.]+", path)]
    assert min(corners) == (50_000, 75_000)
    assert max(corners) == (57_500, 80_000)
    assert path.count("M") == path.count("Z") == 1


def test_the_page_loads_nothing_and_allows_only_its_own_script_and_style():
    page = slide_page.page([entry()], title="cohort")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; img-src data:;")
    for kind, pattern in (
        ("script", r"<script>(.*?)</script>"),
        ("style", r"<style>(.*?)</style>"),
    ):
        (text,) = re.findall(pattern, page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    outside = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//cdn|src=\"(?!data:)|url\(|@import", outside)
    assert not re.search(r" on\w+=", outside)


def test_names_and_reasons_cannot_become_part_of_the_page():
    page = slide_page.page([entry(EVIL)], title=EVIL, failed={EVIL: EVIL}, notes=[EVIL])
    assert page.count("<script") == 3
    assert "<img" not in page
    data = re.search(r'<script type="application/json" id="slides">(.*?)</script>', page, re.S)[1]
    assert json.loads(data)[0]["name"] == EVIL


def test_what_failed_is_listed_with_its_reason():
    page = slide_page.page([], title="cohort", failed={"slide 9": "no outlines"}, notes=["a note"])
    assert "<b>slide 9</b>: no outlines" in page
    assert "<li>a note</li>" in page


def browser():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    return found or pytest.skip("no Chromium on this machine to look at the page with")


def look(page, folder, *options):
    """What headless Chromium makes of a page, without any network."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={folder / 'profile'}", "--window-size=1000,700",
        "--virtual-time-budget=2000", *options, (folder / "page.html").as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_a_browser_draws_the_slide_and_runs_nothing_that_a_name_brings(tmp_path):
    page = slide_page.page([entry(EVIL), entry("b", 1)], title=EVIL, failed={EVIL: EVIL})
    dom = look(page, tmp_path, f"--screenshot={tmp_path / 'shot.png'}", "--dump-dom")
    body = re.search(r"<body[^>]*>", dom)[0]
    assert 'data-ready="2"' in body
    assert "evil" not in body
    assert re.search(r'<svg[^>]*viewBox="', dom)
    assert dom.count('<path d="M') == 4  # both outlines, each with its halo
    shot = tmp_path / "shot.png"
    if not shot.exists():  # older ones do one thing at a time
        look(page, tmp_path, f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    red, green, blue = pixels[100:, 260:].reshape(-1, 3).T  # beside the list, below the words
    assert ((blue > red + 30) & (blue > 100)).sum() > 5000  # tissue with low scores
    assert ((red > blue + 60) & (red > 150)).sum() > 1000  # tissue with high ones
    rose = (abs(red - 0xD4) < 12) & (abs(green - 0x14) < 12) & (abs(blue - 0x8C) < 12)
    assert rose.sum() > 50  # the outline of the tumour
