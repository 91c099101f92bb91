"""The site of the documentation, built as `make docs` builds it: its pages, its links, and a place for every name."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from docs.build_site import OTHER_PAGES, PUBLIC_MODULES

pytestmark = [
    pytest.mark.once,
    pytest.mark.no_cover,
    pytest.mark.skipif(sys.version_info < (3, 11), reason="zensical needs Python 3.11"),
]

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"(https?://[\w.-]+(:\d+)?([/?#][^\s<>\"]*)?|mailto:[\w.-]+@[\w.-]+)")
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}
"""What a browser may load without being asked."""

CODE = {"code", "pre", "script", "style"}
MARKDOWN = re.compile(r"\*\*|\]\(|\| ---|``|^ *[-*] \w|^\d+\. \w|^:::|^\|.*\|$", re.MULTILINE)
"""What the text of a page holds only if it was not understood."""


class Page(HTMLParser):
    """A page of the site: where its links lead, what it loads, and which anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.links, self.loaded, self.anchors = path, [], [], set()
        self.prose, self.in_code = "", 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if attributes.get(LOADED.get(tag)):
            self.loaded.append(attributes[LOADED[tag]])
        self.in_code += tag in CODE

    def handle_endtag(self, tag):
        self.in_code -= tag in CODE

    def handle_data(self, data):
        self.prose += "" if self.in_code else data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site; a warning of zensical, such as one of a dead link, fails the build."""
    folder = tmp_path_factory.mktemp("built") / "site"
    done = subprocess.run(
        [sys.executable, "docs/build_site.py", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Every page of the site, by its path in it."""
    return {path: Page(path) for path in site.rglob("*.html")}


def leads_nowhere(page: Page, link: str, pages: dict[Path, Page], site: Path) -> bool:
    """Whether a link of a page has no target: another page's address is looked at, and never opened."""
    parts = urlsplit(link)
    if parts.scheme == "data":
        return False  # a picture in the page itself
    if parts.scheme or parts.netloc:
        return not ADDRESS.fullmatch(link)
    target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(site.resolve()) or not target.exists():
        return True
    return bool(parts.fragment) and target in pages and unquote(parts.fragment) not in pages[target].anchors


def test_every_link_of_the_site_leads_somewhere(site, pages):
    """Pages, anchors, pictures and files are there; addresses of other sites have the form of one."""
    found = {
        f"{path.relative_to(site)}: {link}"
        for path, page in pages.items()
        if path.name != "404.html"  # shown at any path, so its links begin at the root of the site
        for link in [*page.links, *page.loaded]
        if leads_nowhere(page, link, pages, site)
    }
    assert found == set()


def test_the_site_understands_what_github_understands(site, pages):
    """Tables, lists, links and emphasis of every page are that, and not characters in its text."""
    left = {
        f"{path.relative_to(site)}: {page.prose[max(0, found.start() - 30) : found.end() + 30]!r}"
        for path, page in pages.items()
        for found in MARKDOWN.finditer(page.prose)
    }
    assert left == set()
    assert "<code>2024-06-20|north</code>" in (site / "dagster_reference.html").read_text(encoding="utf-8")


def test_the_site_loads_nothing_from_elsewhere(site, pages):
    """It works without a network, and tells no other site who reads it."""
    loaded = {link for page in pages.values() for link in page.loaded}
    assert {link for link in loaded if urlsplit(link).netloc} == set()


def test_every_page_of_the_repository_is_in_the_navigation(site, pages):
    """A reader finds each page from the home page."""
    reached = {urlsplit(link).path for link in pages[site / "index.html"].links}
    written = [path.stem for kind in ("*.md", "*.ipynb") for path in (ROOT / "docs").glob(kind)]
    written += [name.removesuffix(".md") for name in OTHER_PAGES.values()]
    assert {f"{name}.html" for name in written} <= reached | {"index.html"}


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_has_a_place_with_its_docstring(site, pages, module):
    """The page of a module has an anchor for each name of its ``__all__``, and the first line of its docstring."""
    page = pages[site / "reference" / f"{module}.html"]
    shown = page.path.read_text(encoding="utf-8")
    for name in import_module(module).__all__:
        assert f"{module}.{name}" in page.anchors, name
        first = (getattr(import_module(module), name).__doc__ or "").strip().split("\n")[0].split("`")[0]
        assert first[:40].split("'")[0] in shown, f"{name} is shown without its docstring"


def test_the_public_modules_are_those_that_contributors_read_of():
    """CONTRIBUTING.md says what is public; each module of it has a page."""
    public = (
        (ROOT / "CONTRIBUTING.md").read_text().split("the names in `__all__` of ")[1].split("with their signatures")[0]
    )
    assert set(re.findall(r"`([\w.]+)`", public)) == set(PUBLIC_MODULES)


def test_llms_txt_lists_every_page(site):
    """As llmstxt.org describes it: a title, a summary, and links to pages in Markdown; llms-full.txt has them all."""
    text = (site / "llms.txt").read_text(encoding="utf-8")
    assert re.match(r"# temporis_dagster\n\n> \S.*\n", text)
    listed = re.findall(r"^- \[[^\]]+\]\(([^)]+)\)", text, re.MULTILINE)
    assert all((site / link).is_file() for link in listed)
    written = {f"{path.stem}.md" for kind in ("*.md", "*.ipynb") for path in (ROOT / "docs").glob(kind)}
    written |= set(OTHER_PAGES.values())
    assert written - {"index.md"} | {f"reference/{module}.html" for module in PUBLIC_MODULES} == set(listed)
    full = (site / "llms-full.txt").read_text(encoding="utf-8")
    assert all((site / name).read_text(encoding="utf-8").strip() in full for name in written)
