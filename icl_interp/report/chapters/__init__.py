"""The chapters of a report, one a file: numbers of a study in, a section of the page out."""
