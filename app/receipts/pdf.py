"""A receipt as a PDF: the same words as the page, on A4."""

from html import escape
from io import BytesIO

from app.receipts.text import Section, Told

_FONT, _BOLD = "Vera", "VeraBd"


def render(told: Told) -> bytes:
    """The document; the same receipt always gives the same bytes."""
    # The library takes most of a second to import, and few requests need it.
    from reportlab.lib.pagesizes import A4  # noqa: PLC0415
    from reportlab.lib.styles import ParagraphStyle  # noqa: PLC0415
    from reportlab.lib.units import mm  # noqa: PLC0415
    from reportlab.pdfbase import pdfmetrics  # noqa: PLC0415
    from reportlab.pdfbase.ttfonts import TTFont  # noqa: PLC0415
    from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle  # noqa: PLC0415  # noqa: PLC0415

    for name in (_FONT, _BOLD):
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    font = pdfmetrics.getFont(_FONT)
    assert isinstance(font, TTFont)
    known = font.face.charToGlyph
    body = ParagraphStyle("body", fontName=_FONT, fontSize=9, leading=13, spaceAfter=4)
    small = ParagraphStyle("small", parent=body, fontSize=7, leading=9, spaceAfter=0)
    heading = ParagraphStyle(
        "heading", fontName=_BOLD, fontSize=11, leading=15, spaceBefore=9, spaceAfter=3
    )
    title = ParagraphStyle("title", fontName=_BOLD, fontSize=16, leading=22)

    def words(text: str, style: ParagraphStyle) -> Paragraph:
        return Paragraph(escape(_printable(text, known)), style)

    def table(section: Section, width: float) -> Flowable:
        cells = [[words(cell, small) for cell in row] for row in (section.columns, *section.rows)]
        made = Table(cells, colWidths=[width / len(section.columns)] * len(section.columns))
        rule = ("LINEBELOW", (0, 0), (-1, -1), 0.4, "#b8bab5")
        made.setStyle(TableStyle([rule, ("VALIGN", (0, 0), (-1, -1), "TOP")]))
        return made

    out = BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=20 * mm,
        rightMargin=20 * mm,
        topMargin=18 * mm,
        bottomMargin=18 * mm,
        title=told.title,
        subject=told.summary,
        author="Expunge",
        lang="en",
        invariant=1,
    )
    story: list[Flowable] = [words(told.title, title), words(told.summary, body)]
    for section in told.sections:
        story.append(words(section.heading, heading))
        story += [words(paragraph, body) for paragraph in section.paragraphs]
        if section.rows:
            story += [table(section, document.width), Spacer(1, 3 * mm)]
        story += [words(paragraph, body) for paragraph in section.after]
    document.build(story)
    return out.getvalue()


def _printable(text: str, known: dict[int, int]) -> str:
    """What the font has no glyph for is spelt by its code point, rather than lost."""
    return "".join(c if ord(c) in known or c == "\n" else f"[U+{ord(c):04X}]" for c in text)
