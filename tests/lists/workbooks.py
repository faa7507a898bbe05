"""Small workbooks, made by hand, so that no library for writing them is needed."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_TYPES = "application/vnd.openxmlformats-officedocument"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

Cell = str | int | float | None


def xlsx(sheets: Mapping[str, Sequence[Sequence[Cell]]]) -> bytes:
    """A workbook with some sheets."""
    return xlsx_of({name: _rows(rows) for name, rows in sheets.items()})


def xlsx_of(sheets: Mapping[str, str]) -> bytes:
    """A workbook whose sheets have this XML between `<sheetData>` and its end."""
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="{_TYPES}.spreadsheetml.sheet.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_RELS}"><Relationship Id="r" Type="{_OFFICE}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_OFFICE}"><sheets>'
        + "".join(f'<sheet name="{escape(name)}" sheetId="{i}" r:id="r{i}"/>' for i, name in enumerate(sheets, 1))
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_RELS}">'
        + "".join(
            f'<Relationship Id="r{i}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{i}.xml"/>'
            for i in range(1, len(sheets) + 1)
        )
        + "</Relationships>",
    }
    for i, data in enumerate(sheets.values(), 1):
        parts[f"xl/worksheets/sheet{i}.xml"] = f'<worksheet xmlns="{_SHEET}"><sheetData>{data}</sheetData></worksheet>'
    return _zipped(parts)


def ods(rows: Sequence[Sequence[str]]) -> bytes:
    """A workbook of LibreOffice with one sheet, with the empty rows at its end that LibreOffice writes."""
    names = "urn:oasis:names:tc:opendocument:xmlns"
    cells = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'
            for cell in row
        )
        + '<table:table-cell table:number-columns-repeated="16380"/></table:table-row>'
        for row in rows
    )
    content = (
        f'<office:document-content xmlns:office="{names}:office:1.0" xmlns:table="{names}:table:1.0" '
        f'xmlns:text="{names}:text:1.0"><office:body><office:spreadsheet><table:table table:name="Sheet1">{cells}'
        '<table:table-row table:number-rows-repeated="1048570">'
        '<table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
        "</table:table></office:spreadsheet></office:body></office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
    return _zipped(
        {
            "mimetype": kind,
            "content.xml": content,
            "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{manifest}"><manifest:file-entry '
            f'manifest:full-path="/" manifest:media-type="{kind}"/></manifest:manifest>',
        }
    )


def _rows(rows: Sequence[Sequence[Cell]]) -> str:
    return "".join(
        f'<row r="{number}">' + "".join(_cell(cell, i, number) for i, cell in enumerate(row)) + "</row>"
        for number, row in enumerate(rows, 1)
    )


def _cell(cell: Cell, column: int, row: int) -> str:
    place = f'r="{chr(65 + column)}{row}"'
    if cell is None:
        return ""
    if isinstance(cell, str):
        return f'<c {place} t="inlineStr"><is><t>{escape(cell)}</t></is></c>'
    return f"<c {place}><v>{cell}</v></c>"


def _zipped(parts: Mapping[str, str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return made.getvalue()
