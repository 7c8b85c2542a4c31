"""Wording that nobody should have to read twice: `make words` names each place with what to write instead.

Read are the kept words of reports, papers' pages and help (tests/golden), README, docs, the newest section of the
changelog, strings of the report, of figures and of the command line, and docstrings of the public names.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
_COUNTED = (
    "prompts pairs points positions heads steps tokens queries rows reads seeds sequences operations targets cells "
    "milliseconds seconds megabytes examples samples labels dots checkpoints chains coordinates matrices predictions "
    "plots figures draws units passes layers numbers weights directions calls bytes batches epochs lines columns "
    "iterations evaluations products networks traces"
).replace(" ", "|")
_UNITS = (
    "family prompt site model seed shift token position network point layer run step row column line figure trace "
    "detector target head dimension call checkpoint second worker batch kind claim pool task paper law cell page "
    "process reference block direction sample query place pass card chapter setting pair group minute chain decade "
    "trial sequence measurement"
).replace(" ", "|")
_SINGULAR = "row|line|point|vector|matrix|probe|read-out|prediction|thread|card|seed|token|sequence|curve|step|entry"
_CLAUSE = "of|with|that|which|is|has|goes|first|for|cannot|needs|learns"  # "how many heads a network needs"
BANNED = {
    rf"\b({_COUNTED}) an? ({_UNITS})\b(?! ({_CLAUSE})\b)": 'write "per"',
    rf"\b(one|a) ([\w-]+ )?({_SINGULAR}) an? ({_UNITS})\b": 'write "per"',
    r"\bspeaks? of\b": 'write "shows", "is evidence of" or "mentions"',
    r"\bsays nothing of\b|\bsay nothing of\b": 'write "is no evidence about"',
    r"\btells? (nothing )?of\b|\b(is|are) told of\b": 'write "says about"',
    r"\bwhat (?!is\b)[^.;:]{1,40} (is|are) worth\b|\bwhat is [^.;:?]{1,40} worth\b": 'say "how strong is the evidence"',
    r"(?<![\w-])All numbers\.": "say which numbers",
    r"\blikewise\b": "say it again in words",
    r"\(ours\)": 'write "our choice"',
    r"\b(drawn|named|shown|found) there\b": "say where",
    r"\bgone? on with\b|\bgoes on with\b": 'write "resume" or "continue"',
    r"\bas much or more do\b|\bdoes? so as well\b": "subject, verb, object",
    r"\b(Framed|Drawn|Shown|Judged|Kept) (is|are)\b": "subject, verb, object",
    r"\bare judged by nothing\b|\bis judged by nothing\b|\bopens the report\b": "no idiom",
    r"\bbeyond what seeds scatter by\b": 'write "more than seeds differ"',
    r"\bDecodable is not used\b": 'write "Decodable does not mean used"',
    r"\b[Nn]o evidence beyond\b": "name one of the five verdicts",
}
"""Pattern, and what to do instead."""
_COMPILED = [(re.compile(pattern, re.IGNORECASE), remedy) for pattern, remedy in BANNED.items()]
_LONG = 35
"""Words of a sentence in the report, what stands in brackets not counted."""
_DIGITS = re.compile(r"(?<![\w.,/=:v-])\d*\.\d+(?![\w.,]*\d)")
_CODE = re.compile(r"`[^`]*`|\]\([^)]*\)|<[^>]*>|arXiv:?\s*[\d.]+")


class Words(NamedTuple):
    """A piece of text and where it stands."""

    file: Path
    line: int
    text: str


def pages() -> Iterator[Words]:
    """Read what people see of reports and help."""
    for path in sorted((ROOT / "tests" / "golden").glob("*.txt")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.startswith("drawn: "):
                yield Words(path, number, line)


def documents() -> Iterator[Words]:
    """Read what stands outside of code blocks."""
    for path in (
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *sorted({*(ROOT / "docs").rglob("*.md")} - {*(ROOT / "docs" / "_build").rglob("*.md")}),
    ):
        fenced, sections = False, 0
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            fenced ^= line.startswith("```")
            sections += line.startswith("## ")
            if path.name == "CHANGELOG.md" and sections > 1:
                break
            if not fenced:
                yield Words(path, number, _CODE.sub("", line))


def strings() -> Iterator[Words]:
    """Read the strings of what writes to people; refusals have a pattern of their own."""
    for room in ("report", "figures", "cli"):
        for path in sorted((ROOT / "icl_interp" / room).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            refusals = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Raise) for part in ast.walk(node)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in refusals:
                    yield Words(path, node.lineno, node.value)


def docstrings() -> Iterator[Words]:
    """Read the docstrings of public names: those that `icl_interp` exports, and those of `probes`."""
    public: dict[Path, set[str]] = {}
    for node in ast.walk(ast.parse((ROOT / "icl_interp" / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("icl_interp."):
            path = ROOT / f"{(node.module or '').replace('.', '/')}.py"
            public.setdefault(path, set()).update(alias.name for alias in node.names)
    for path in sorted((ROOT / "probes").glob("*.py")):
        public[path] = {"*"}
    for path, names in public.items():
        if not path.exists():
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            name = getattr(node, "name", "")
            if name and not name.startswith("_") and (name in names or "*" in names):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant):
                        for offset, line in enumerate(str(inner.value.value).splitlines()):
                            yield Words(path, inner.lineno + offset, line)


def faults() -> Iterator[str]:
    """Name every place that is not as it should be."""
    for words in (*pages(), *documents(), *strings(), *docstrings()):
        place = f"{words.file.relative_to(ROOT)}:{words.line}"
        for pattern, remedy in _COMPILED:
            for match in pattern.finditer(words.text):
                yield f"{place}: “{match.group()}”: {remedy}"
    for words in documents():
        for match in _DIGITS.finditer(words.text):
            if len(match.group().replace(".", "").strip("0")) > 3 or match.group().startswith("0.000"):
                yield f"{words.file.relative_to(ROOT)}:{words.line}: “{match.group()}”: at most three digits in prose"
    for words in pages():
        if " | " in words.text:
            continue
        for sentence in re.split(r"(?<=[.;:?!]) ", re.sub(r"\([^()]*\)", "", words.text)):
            if (n := len(sentence.split())) > _LONG:
                start = " ".join(sentence.split()[:6])
                yield f"{words.file.relative_to(ROOT)}:{words.line}: “{start} ...” has {n} words: make it two sentences"


if __name__ == "__main__":
    found = list(dict.fromkeys(faults()))
    print("\n".join(found) or "no wording to mend")
    sys.exit(bool(found))
