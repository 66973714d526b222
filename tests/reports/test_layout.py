"""The page in a real browser: nothing spills, everything can be read, nothing is fetched."""

import pytest

from radproof.reports.html import write_report


@pytest.fixture(scope="module")
def address(finished):
    return write_report(finished).as_uri()


# By default each width once and each scheme; what spills depends on the width, what is faint on the scheme.
OTHERS = [pytest.param(*pair, marks=pytest.mark.slow) for pair in ((1280, "dark"), (800, "light"), (400, "light"))]


@pytest.mark.e2e
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (800, "dark"), (400, "dark"), *OTHERS])
def test_the_page_fits_and_can_be_read(browser, address, width, scheme, asks):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    assert page.evaluate(asks["spilling"]) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(asks["faint"]) == []
    assert page.evaluate("[...document.images].filter(i => !i.naturalWidth).length") == 0
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert complaints == []
    page.close()


@pytest.mark.e2e
def test_the_colours_follow_the_reader(browser, address):
    def background(scheme: str) -> str:
        page = browser.new_page(color_scheme=scheme)
        page.goto(address)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.close()
        return colour

    assert background("light") == "rgb(245, 246, 248)"
    assert background("dark") == "rgb(15, 19, 26)"


@pytest.mark.e2e
@pytest.mark.parametrize("width", [1280, 400])
def test_what_is_folded_fits_and_can_be_read_too(browser, address, width, asks):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(address)
    assert page.locator("details:not([open])").count() >= 2
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate(asks["spilling"]) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(asks["faint"]) == []
    page.close()


@pytest.mark.e2e
@pytest.mark.parametrize("width", [1280, 400])
def test_letters_of_a_figure_never_touch_and_stay_inside_it(browser, address, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(address)
    boxes = page.evaluate("""() => [...document.querySelectorAll('.spending .drawn text')].map(e => {
      const r = e.getBoundingClientRect(), s = e.closest('svg').getBoundingClientRect()
      return [r.left, r.right, r.top + 0.2 * r.height, r.bottom - 0.2 * r.height,
        r.left >= s.left && r.right <= s.right && r.top >= s.top - 1 && r.bottom <= s.bottom, e.textContent]
    })""")
    assert len(boxes) > 14
    assert [box[5] for box in boxes if not box[4]] == []
    apart = [
        a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2] for i, a in enumerate(boxes) for b in boxes[:i]
    ]
    assert all(apart)
    page.close()


@pytest.mark.e2e
def test_tables_stay_tables_for_readers_that_speak(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address)
    assert page.get_by_role("columnheader", name="4/255", exact=True).count() > 1
    page.set_viewport_size({"width": 400, "height": 900})
    assert page.get_by_role("table").count() > 10
    assert page.get_by_role("rowheader", name="sia").count() > 2
    assert page.get_by_role("cell", name="Transfer 45 % (37–53)").count() > 0  # boxes name their column themselves
    page.close()


@pytest.mark.e2e
def test_a_table_that_scrolls_fits_its_own_box(browser, address):
    page = browser.new_page(viewport={"width": 400, "height": 900})
    page.goto(address)
    fits = "[...document.querySelectorAll('.scroll')].every(e => e.getBoundingClientRect().right <= innerWidth)"
    assert page.evaluate(fits)
    page.close()
