"""The atlas page in a real browser: from disk, without a network, with 5 000 made-up points."""

import time

import numpy as np
import pandas as pd
import pytest

from mvtec_xai.atlas import PAGE_MAPS, atlas_page, thumbnail

COUNT = 5000
CATEGORIES = {
    "nut": ["bent", "flip"],
    "pill <b>&": ["crack", 'a "quoted" <img src=x onerror=alert(1)>', "scratch"],
}


def made_up(count: int) -> tuple[pd.DataFrame, list[str]]:
    "Points on a grid, so that their places are known: no two lie on each other."
    rng = np.random.default_rng(0)
    category = np.array(list(CATEGORIES))[np.arange(count) % 2]
    defect = [CATEGORIES[c][k // 2 % len(CATEGORIES[c])] for k, c in enumerate(category)]
    points = pd.DataFrame({"category": category, "defect": defect})
    points["image_id"] = [
        f"{c}/test/{d}/{k:04d}" for k, (c, d) in enumerate(zip(category, defect, strict=True))
    ]
    ids = points.image_id.to_numpy()
    points["near"] = [[ids[(k + 2 * step) % count] for step in range(1, 6)] for k in range(count)]
    for m in PAGE_MAPS:
        points[f"{m}_x"], points[f"{m}_y"] = (
            np.divmod(np.arange(count), 100) if m.startswith("all") else np.divmod(np.arange(count), 70)
        )
    spots = [np.full((88, 88, 3), rng.integers(0, 255, 3), np.uint8) for _ in range(50)]
    region = np.zeros((88, 88), bool)
    region[20:50, 30:60] = True
    pictures = [thumbnail(s, region) for s in spots]
    return points, [pictures[k % 50] for k in range(count)]


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    "The page, open; `page.asked` are the addresses that it asked for, `page.faults` what went wrong in it."
    file = tmp_path_factory.mktemp("atlas") / "atlas.html"
    points, pictures = made_up(COUNT)
    file.write_text(atlas_page(points, pictures), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1400, "height": 850})
    page.set_default_timeout(60_000)
    page.asked, page.faults, page.points, page.pictures = [], [], points, pictures
    page.on("request", lambda r: page.asked.append(r.url))
    page.on("pageerror", lambda e: page.faults.append(str(e)))
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
    page.on("dialog", lambda d: page.faults.append(d.message))
    began = time.perf_counter()
    page.goto(file.as_uri())
    page.locator("#map .points path").first.wait_for(state="attached")
    page.seconds = time.perf_counter() - began
    return page


@pytest.fixture
def page(opened):
    "The page as it is when it has just been opened."
    opened.evaluate("document.getElementById('map').focus()")
    opened.keyboard.press("Escape")
    opened.fill("#find", "")
    opened.click("#every")
    opened.select_option("#view", "")
    opened.check("[value=umap]")
    return opened


def marks(page) -> int:
    return page.locator("#map .points path").count()


def place_of(page, row: int) -> tuple[float, float]:
    "Where on the screen the mark of a row is, on the map that is shown."
    return page.evaluate(
        """row => { const gd = document.getElementById('map'), {xaxis, yaxis} = gd._fullLayout, box = gd.getBoundingClientRect();
        return [box.x + xaxis._offset + xaxis.l2p(spot(rows[row])[0]), box.y + yaxis._offset + yaxis.l2p(spot(rows[row])[1])] }""",
        row,
    )


def test_5000_points_open_from_disk_and_ask_nobody(page):
    assert marks(page) == COUNT
    assert page.seconds < 20, f"{page.seconds:.1f} s to open"
    assert [u for u in page.asked if not u.startswith(("file:", "data:", "blob:"))] == []
    assert sum(u.startswith("file:") for u in page.asked) == 1  # the page itself
    assert page.faults == []


def test_filters_reduce_what_is_shown(page):
    assert page.text_content("#shown") == f"{COUNT} of {COUNT} shown"
    page.get_by_label("nut", exact=True).get_by_role("checkbox").first.uncheck()
    assert marks(page) == COUNT // 2
    page.get_by_label("crack", exact=True).uncheck()
    left = page.points[(page.points.category != "nut") & (page.points.defect != "crack")]
    assert marks(page) == len(left) < COUNT // 2
    page.click("#none")
    assert marks(page) == 0
    page.click("#every")
    page.fill("#find", "PILL 004")
    found = page.points.image_id.str.contains("pill") & page.points.image_id.str.contains("004")
    assert marks(page) == found.sum() > 0
    page.fill("#find", "")
    page.select_option("#view", "nut")
    assert marks(page) == COUNT // 2
    assert page.locator("#types label").all_text_contents() == ["nut", *CATEGORIES["nut"]]


def test_pointer_shows_picture_and_neighbours(page):
    row = 2517
    page.mouse.move(*place_of(page, row))
    page.wait_for_selector("#big")
    assert page.get_attribute("#big", "src") == page.pictures[row]
    near = page.points.near[row]
    assert [b.get_attribute("title") for b in page.locator("#near button").all()] == near
    assert page.locator("#map .shapelayer path").count() == 1 + len(
        near
    )  # a ring, and lines to the neighbours
    detail = page.text_content("#detail")
    assert page.points.defect[row] in detail and page.points.image_id[row] in detail
    page.mouse.move(300, 845)
    page.wait_for_selector("#big", state="detached")
    page.mouse.click(*place_of(page, row))
    page.mouse.move(300, 845)
    assert page.points.image_id[row] in page.text_content("#detail")  # kept
    page.locator("#near button").first.click()
    assert near[0] in page.text_content("#detail")


def test_keyboard_goes_from_mark_to_mark(page):
    page.select_option("#view", "nut")
    page.focus("#map")
    page.keyboard.press("ArrowRight")
    first = page.points.index[page.points.category == "nut"][0]
    assert page.points.image_id[first] in page.text_content("#detail")
    page.keyboard.press("ArrowRight")
    assert page.points.image_id[first + 70] in page.text_content("#detail")  # the next column of the grid
    page.keyboard.press("ArrowUp")
    assert page.points.image_id[first + 72] in page.text_content("#detail")
    page.keyboard.press("Escape")
    assert page.locator("#big").count() == 0


def test_names_stay_text(page):
    page.select_option("#view", "pill <b>&")
    assert 'a "quoted" <img src=x onerror=alert(1)>' in page.text_content("#types")
    assert page.locator("#types b, #types img").count() == 0
    page.check("[value=tsne]")
    page.mouse.move(*place_of(page, 3))
    page.wait_for_selector("#big")
    assert page.points.defect[3] in page.text_content("#detail h2") and page.locator("#detail b").count() == 0
    assert page.faults == []


def test_no_button_sends_the_chart_anywhere(opened):
    titles = [b.get_attribute("data-title") or "" for b in opened.locator(".modebar-btn").all()]
    assert len(titles) == 6 and not any("hare" in t or "loud" in t for t in titles)
    for button in opened.locator(".modebar-btn[data-title^='Zoom'], .modebar-btn[data-title^='Reset']").all():
        button.click()
    assert all(url.startswith(("file:", "data:", "blob:")) for url in opened.asked)
