"""The chapters of a report, one question per file: what was found in; sentences, figures and the card at the top out.

A new chapter is a function `chapter(study) -> Chapter` in a file of its own here, and a line in `report/contents.py`.
"""

from icl_interp.report.model import Section

__all__ = ["DOING", "FAMILIAR", "TRAINING", "WHERE", "WORTH"]

DOING = Section("doing", "What is this model doing?")
WHERE = Section("where", "Where does it do that?")
FAMILIAR = Section("familiar", "Is this prompt familiar?")
WORTH = Section("worth", "What is that evidence worth?")
TRAINING = Section("timeline", "How it developed")
