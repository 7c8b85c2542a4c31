"""The glossary: one list of terms that feeds the docs and the pages, which link to a term at its first use."""

from pathlib import Path

import pytest

from icl_interp.report import Page, Section, render
from icl_interp.report.glossary import GLOSSARY, OF_PAPERS, PAPER_GLOSSARY, Term

DOCS = Path(__file__).parents[3] / "docs"


def test_the_docs_hold_every_term(golden):
    lines, papers = ([f"- **{term.name}**: {term.meaning}" for term in terms] for terms in (GLOSSARY, OF_PAPERS))
    opening = "# Glossary\n\nThe words of reports. A report links to them at the first use in a chapter.\n\n"
    golden("glossary.md", opening + "\n".join([*lines, "", "On the page of a paper:", "", *papers, ""]), folder=DOCS)


@pytest.mark.parametrize("glossary", [GLOSSARY, PAPER_GLOSSARY])
def test_terms_have_one_definition_and_one_anchor_each(glossary):
    forms = [form.lower() for term in glossary for form in (term.name, *term.forms)]
    assert len(set(forms)) == len(forms)
    assert len({term.anchor for term in glossary}) == len(glossary)
    assert all(term.meaning.endswith(".") and len(term.meaning) < 200 for term in glossary)


TERMS = (Term("R²", "a <share>.", ("R-squared",)), Term("partial R²", "another."), Term("site", "a place.", ("sites",)))
CHAPTER = "A partial R² and R² at a site; R² at other sites, on-site, at `site`."


def test_a_term_is_linked_once_per_chapter_and_explained_at_the_end():
    sections = (Section("one", "R² in a title", CHAPTER), Section("two", "B", "Every Site has an R²."))
    html = render(Page("A page", sections=sections, glossary=TERMS), plotlyjs="directory")
    first, second = html.split('id="two"')
    link = '<a class="term" href="#{}" title="{}">{}</a>'
    r2, site = link.format("term--r2", "a &lt;share&gt;.", "R²"), link.format("term--site", "a place.", "site")
    partial = link.format("term--partial-r2", "another.", "partial R²")
    assert f"A {partial} and {r2} at a {site}; R² at other sites, on-site, at <code>site</code>." in first
    upper = site.replace("site<", "Site<")
    assert f"Every {upper} has an {r2}." in second
    assert '<div id="term--r2"><dt>R²</dt><dd>a &lt;share&gt;.</dd></div>' in second
    assert '<a href="#page--glossary">Glossary</a>' in html


def test_terms_that_a_page_does_not_use_are_not_explained():
    html = render(Page("A page", sections=(Section("one", "A", "At a site."),), glossary=TERMS), plotlyjs="directory")
    assert html.count("<dt>") == 1
    assert "page--glossary" not in render(Page("A page", sections=(Section("one", "A", "At a site."),)), plotlyjs="cdn")
