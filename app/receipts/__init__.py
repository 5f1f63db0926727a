"""A receipt in plain words, for the person whose data it is about: as a page and as a PDF."""
