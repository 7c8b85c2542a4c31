"""The chapters of a report, one question per file: what was found in; sentences, figures and the card at the top out.

A new chapter is a function `chapter(study) -> Chapter` in a file of its own here, and a line in `report/contents.py`.
"""

from icl_interp.report.model import Section

__all__ = ["DOING", "FAMILIAR", "TRAINING", "WHERE", "WORTH"]

DOING = Section("doing", "What does the model do?")
WHERE = Section("where", "Where in the network does it happen?")
FAMILIAR = Section("familiar", "Do hidden states show that a prompt is unfamiliar?")
WORTH = Section("worth", "How strong is the evidence?")
TRAINING = Section("timeline", "How it developed")
