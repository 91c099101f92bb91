"""Builds the site of the documentation with zensical, from the same Markdown that GitHub shows: `make docs`.

Comes in: the pages and notebooks of docs/, the other Markdown pages of the repository, and what they link to.
Goes out: the site in a folder, with llms.txt; a link to a file of the repository leads to a page that shows the file.
Never: changes a page, or leaves a link of one as it is without knowing where it leads; zensical refuses those.

    python docs/build_site.py [FOLDER]
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
CONFIGURATION = DOCS / "zensical.toml"

OTHER_PAGES = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "example_project/README.md": "example_project.md",
}
"""Where the pages outside of docs/ are in the site."""

PUBLIC_MODULES = {
    "temporis_dagster": "What `from temporis_dagster import ...` imports.",
    "temporis_dagster.components": "The YAML component for `dg`, and its attributes that are objects.",
    "temporis_dagster.pipes": "For a process that Dagster Pipes has started.",
    "temporis_dagster.spark": "For a DataFrame of Spark, with the extra `[spark]`.",
    "temporis_dagster.testing": "For the tests of your own project.",
}
"""The modules whose `__all__` is public, each with a page made of the docstrings of these names."""

LINK = re.compile(r"(?<=\]\()([^)#\s]+)(?=(?:#[^)\s]*)?\))")
BAR = r"\|"
PIPE = re.compile(r"(?<=[ (])`([^`\n]*\\\|[^`\n]*)`")
NAMED = re.compile(r"\[(?:[\w.]+/)*\w+\.md\](?=\(([\w./]+\.md)[#)])")
TITLE = re.compile(r"^# ([^:\n]+)", re.MULTILINE)
FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
LINKED = re.compile(r"\[([^\]]+)\]\(([^)#]+\.md|https:[^)]+)\)")
PICTURE = re.compile(r'<p><img [^>]*src="data:[^>]*></p>\n*')
LISTED = re.compile(r"^- \[[^\]]+\]\(([^)]+)\)", re.MULTILINE)
LANGUAGES = {".json": "json", ".py": "python", ".sh": "bash", ".toml": "toml", ".yaml": "yaml", ".service": "ini"}


def place(path: Path) -> str:
    """Return where a file or a folder of the repository is among the pages of the site."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix().removesuffix(".ipynb") + (".md" if path.suffix == ".ipynb" else "")
    name = path.relative_to(ROOT).as_posix()
    return OTHER_PAGES.get(name) or f"files/{name}{'/index' if path.is_dir() else ''}.md"


def moved(text: str, page: Path, shown: set[Path]) -> str:
    """Return the text of a page with links that fit the site; the files that they lead to are added to ``shown``.

    On GitHub, the name of a file is a good text for a link to it; in the site, it is the title of the page.
    """

    def titled(link: re.Match[str]) -> str:
        heading = TITLE.search((page.parent / link[1]).read_text(encoding="utf-8"))
        return f"[{heading[1]}]" if heading else link[0]

    def replaced(link: re.Match[str]) -> str:
        target = (page.parent / link[1]).resolve()
        if ":" in link[1] or not target.exists():
            return link[1]  # another site's address, or a dead link, which zensical names
        shown.add(target)
        return os.path.relpath(place(target), Path(place(page)).parent).replace(os.sep, "/")

    parts = FENCED.split(text)
    parts[::2] = [PIPE.sub(as_html, LINK.sub(replaced, NAMED.sub(titled, part))) for part in parts[::2]]
    return "".join(parts)


def of_notebook(path: Path) -> str:
    """Return a notebook as Markdown: its texts, its code, and what the code shows."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
        parts += [shown for output in cell.get("outputs", []) if (shown := of_output(output))]
    return "\n\n".join(parts) + "\n"


def of_output(output: dict[str, Any]) -> str:
    """Return what a cell shows, in the first of the forms that a browser prefers."""
    data = {kind: "".join(text) for kind, text in output.get("data", {}).items()}
    if "image/png" in data:
        return (
            f'<p><img alt="What the code shows" src="data:image/png;base64,{"".join(data["image/png"].split())}"></p>'
        )
    if "text/html" in data:
        table = data["text/html"].replace('<table border="1" class="dataframe">', "<table>")  # in the style of the site
        return f"<div>\n{table.strip()}\n</div>"
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""


def as_html(code: re.Match[str]) -> str:
    """Return code with a bar, in a table, as HTML: only GitHub takes the backslash before the bar away."""
    return f"<code>{html.escape(code[1]).replace(BAR, '&#124;')}</code>"


def page_of(path: Path) -> str:
    """Return the page that shows a file of the repository, or lists a folder."""
    name = path.relative_to(ROOT).as_posix()
    unsearched = "---\nsearch:\n  exclude: true\n---\n\n"
    if path.is_dir():
        links = [
            f"- [{entry.name}]({os.path.relpath(place(entry), Path(place(path)).parent)})" for entry in listed(path)
        ]
        return f"{unsearched}# {name}\n\n" + "\n".join(links) + "\n"
    language = "docker" if path.name == "Dockerfile" else LANGUAGES.get(path.suffix, "text")
    return f"{unsearched}# {name}\n\n`````{language}\n{path.read_text(encoding='utf-8').rstrip()}\n`````\n"


def listed(folder: Path) -> list[Path]:
    """Return what a folder of the repository holds, without what Python and shells leave behind."""
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "__pycache__"))]


def reference(module: str) -> str:
    """Return the page of a public module: mkdocstrings puts the docstring of each name in the place of its line."""
    names = import_module(module).__all__
    return f"# {module}\n\n{PUBLIC_MODULES[module]}\n\n" + "\n".join(f"::: {module}.{name}\n" for name in names)


def pages() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of every page of the site."""
    shown: set[Path] = set()
    written = [*sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("*.ipynb")), *(ROOT / name for name in OTHER_PAGES)]
    for path in written:
        text = of_notebook(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
        yield place(path), moved(text, path, shown)
    for module in PUBLIC_MODULES:
        yield f"reference/{module}.md", reference(module)
    waiting = sorted(path for path in shown - set(written) if not path.is_relative_to(DOCS))
    done: set[Path] = set(written)
    for path in waiting:  # grows while folders are listed
        if path not in done:
            done.add(path)
            yield place(path), page_of(path)
            waiting += listed(path) if path.is_dir() else []


def llms_txt(home: str) -> str:
    """Return the index of the pages in Markdown that llmstxt.org describes, made of the home page's sections."""
    _, summary, *_ = home.split("\n\n")
    summary = " ".join(LINKED.sub(r"\1", summary).split())
    index = [f"# temporis_dagster\n\n> {summary}\n"]
    seen: set[str] = set()
    for section in home.split("\n## ")[1:]:
        title, *lines = section.split("\n")
        entries = []
        for line in lines:
            task = line.split("|")[1].strip() if line.startswith("|") else line.partition("): ")[2]
            for name, page in LINKED.findall(line):
                if page not in seen:
                    seen.add(page)
                    entries.append(f"- [{name}]({page})" + (f": {task}" if task else ""))
        index.append(f"## {title}\n\n" + "\n".join(entries) + "\n")
    docstrings = [f"- [{name}](reference/{name}.html): {text}" for name, text in PUBLIC_MODULES.items()]
    return "\n".join([*index, "## Docstrings\n", *docstrings, ""])


def build(site: Path) -> None:
    """Build the site into a folder, in the place of what was there. A dead link or any other warning is an error."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        texts = dict(pages())
        for name, text in texts.items():
            path = folder / "pages" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        shutil.copytree(DOCS / "images", folder / "pages" / "images")
        shutil.copy(DOCS / "site.css", folder / "pages")
        shutil.copy(CONFIGURATION, folder)
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
        done = subprocess.run(command, cwd=folder, env=environment, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        index = llms_txt(texts["index.md"])
        written = [page for page in ["index.md", *LISTED.findall(index)] if page in texts]
        for name in written:
            texts[name] = PICTURE.sub("", texts[name])
            (folder / "site" / name).write_text(texts[name], encoding="utf-8")
        (folder / "site" / "llms.txt").write_text(index, encoding="utf-8")
        full = "\n\n".join(f"{texts[name].strip()}" for name in written)
        (folder / "site" / "llms-full.txt").write_text(full + "\n", encoding="utf-8")
        shutil.rmtree(site, ignore_errors=True)
        shutil.move(folder / "site", site)


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site").resolve())
