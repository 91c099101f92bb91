"""Slips of English that this project has made before do not come back.

The table is not a grammar. Each entry is a construction that stood in an error, a docstring or a page and made readers
stumble, with what to write instead. A sentence that is right and still matches can be written differently; if it
cannot, narrow the pattern.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
HERE = Path(__file__)
COUNT = "\N{WHITE SQUARE}"
"""Stands for ``{...}`` in an f-string."""

THINGS = (
    "rows?|observations?|requests?|batch(?:es)?|bytes|times|columns?|lines?|partitions?|runs?|attempts?|steps?|seconds"
)
OTHERS = "|questions?|series|bits?|values?|tests?|file|one"
UNITS = (
    "request|row|second|minute|hour|day|week|batch|body|partition|series|run|source|data source|tick|step|account"
    "|column|line|chunk|connection|process|file|key|write|asset"
)
MANY = "attempts|rows|observations|requests|batches|partitions|seconds|minutes|hours|days|runs|columns|files|lines"

SLIPS = {
    # What is wrong is named, not negated.
    r"(?<![Tt]here )\b(?:is|are) no (?!longer\b|more\b|way\b|need\b)\w": "is not a ...; must be ..., got ...",
    r"\bnot (?:by )?a number of (?:them|it)\b": "must be an integer of at least 1, got ...",
    # Quantities.
    r"\bso (?:many|much|long)\b(?! (?:as|that)\b)": "the maximum number of ..., that many, that long",
    rf"\b(?:{THINGS}{OTHERS}) a (?:{UNITS})\b": "per",
    rf"\b1 (?:{MANY}|series were)\b": "the singular",
    r"[;,] how (?:many|much)\.": "Returns the number of ...",
    # The actor has a name.
    r"\b(?:[Ss]ome|[Nn]o|[Aa]ny|[Ee]very)body\b": "the caller, another process, a user",
    r"\b[Ww]ho(?:so)?ever\b": "the caller, another process, a user",
    r"(?:^|[.:;] )Who (?:wants|needs|has|is|does|reads|calls)\b": "To ..., ...",
    r"\bof (?:her|his)\b|\bhimself\b": "their own",
    r"\b(?:is|are|be) told\b": "receives, is notified, must be given",
    # Options do not talk.
    r"\bsays[.;:)]": "Defaults to the TEMPORIS_URL environment variable.",
    r"[A-Z]_[A-Z]+`* says?\b": "Defaults to the TEMPORIS_URL environment variable.",
    # Words that a native reader stumbles over.
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bbeside\b": "next to, besides, alongside, compared with",
    r"\bin earnest\b": "in production",
    r"\bsurely\b": "certainly, known to",
    r"\bat fault\b": "invalid",
    r"\bas (?:it is|they are)[.\"']": "unchanged",
    r"\bIt all\b": "the subject of the sentence",
    r"\bfor ever\b": "forever",
    r"\b[Aa]n own\b": "its own",
    r"\bown ones\b": "its own",
    r"\bto which end\b|\bthereof\b|\bthere-?in\b|\bherein\b|\bwhereof\b|\bwherefore\b": "plain words",
    r"\bthe other way round\b": "the other way around",
    r"\bnot to be (?:had|seen|known)\b": "unavailable, unknown",
    r"\bto its end\b|\bto the end of its days\b": "completely",
    r"\bof late\b|\bhitherto\b|\bthence\b|\bwhence\b": "plain words",
    r"\bwhat for\b": "why",
    r"\bby itself alone\b|\bof itself\b": "plain words",
}
COMPILED = {re.compile(pattern): better for pattern, better in SLIPS.items()}
PLURAL = {
    re.compile(
        rf"(?<!All )(?<![\w({COUNT}]){COUNT} (?:{MANY})\b"
    ): "counted(...) of temporis_dagster.wording: it knows 1 attempt"
}
"""In the package: a number in an f-string may be 1."""

PYTHON = [
    *(ROOT / "temporis_dagster").rglob("*.py"),
    *(ROOT / "example_project" / "src").rglob("*.py"),
    *(ROOT / "benchmarks").glob("*.py"),
    *(ROOT / "docs").glob("*.py"),
    *(path for path in (ROOT / "tests" / "project").glob("*.py") if path != HERE),
    ROOT / "tests" / "conftest.py",
]
TEXTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "example_project").glob("*.md"),
    *(path for path in (ROOT / ".github").rglob("*") if path.is_file()),
    *(ROOT / name for name in ("Makefile", "pyproject.toml", ".ci/run", ".pre-commit-config.yaml")),
]


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield every docstring, string, f-string and comment of a module, with its line."""
    inside: set[int] = set()
    nodes = list(ast.walk(ast.parse(source)))
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node)}
            yield node.lineno, "".join(map(shown, node.values))
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def shown(part: ast.expr) -> str:
    """Return a part of an f-string as text; a constant of the module, such as ``LIMIT``, stands for its name."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    value = ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ""
    return value if value.isupper() else COUNT


def page_texts(text: str) -> Iterator[tuple[int, str]]:
    """Yield every paragraph, with its first line, so that a slip across two lines is found as well."""
    for paragraph in re.finditer(r"(?:^.*\S.*\n?)+", text, re.MULTILINE):
        yield text.count("\n", 0, paragraph.start()) + 1, paragraph[0]


def slips(texts: Iterator[tuple[int, str]], table: dict[re.Pattern[str], str] = COMPILED) -> list[str]:
    """Describe each slip: the line where its text begins, what is around it, and what to write."""
    found = []
    for line, text in texts:
        flat = re.sub(r"\s+", " ", text)
        for pattern, better in table.items():
            for hit in pattern.finditer(flat):
                around = flat[max(0, hit.start() - 40) : hit.end() + 30]
                found.append(f"line {line}: ...{around}... -> {better}")
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sorted(PYTHON), ids=name)
def test_python_reads_well(path):
    """Errors, log lines, help texts, docstrings and comments hold none of the known slips."""
    assert slips(python_texts(path.read_text())) == []


@pytest.mark.parametrize("path", sorted((ROOT / "temporis_dagster").rglob("*.py")), ids=name)
def test_numbers_agree_with_their_nouns(path):
    """No message says "1 attempts": a count that is formatted by hand in front of a plural may be 1."""
    assert slips(python_texts(path.read_text()), PLURAL) == []


@pytest.mark.parametrize("path", sorted(TEXTS), ids=name)
def test_pages_read_well(path):
    """Documentation, and what contributors and GitHub read, holds none of the known slips."""
    assert slips(page_texts(path.read_text())) == []


@pytest.mark.parametrize(
    ("code", "better"),
    [
        ('"max_attempts=0 is not a number of them."', "must be"),
        ('raise ValueError(f"{name!r} is no asset.")', "must be"),
        ('"""At most so many observations a request."""', "per"),
        ('"Gave up after 1 attempts."', "singular"),
        ("pass  # nobody reads this", "caller"),
        ('"Without it, TEMPORIS_URL says."', "Defaults"),
        ('"""The option as it is."""', "unchanged"),
    ],
)
def test_the_slips_are_found_wherever_they_stand(code, better):
    """In strings, f-strings, docstrings and comments; the answer says what to write."""
    assert any(better in slip.split("->")[1] for slip in slips(python_texts(code)))


def test_a_plural_behind_a_number_is_found():
    """Whether the number is formatted or not."""
    assert slips(python_texts('f"Gave up after {attempts:,} attempts."'), PLURAL)
    assert not slips(python_texts("f\"{counted(n, 'row')} of {total}\""), PLURAL)


@pytest.mark.parametrize(
    "code", ['"There is no data source."', "f\"{counted(n, 'row')} of {total}\"", '"as long as"', '"is no longer read"']
)
def test_right_sentences_pass(code):
    """What resembles a slip and is good English."""
    assert slips(python_texts(code)) == []
