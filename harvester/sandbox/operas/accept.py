"""JSON, a web page or an error: what OPERAS makes of the Accept header (wire fact O11)."""

import json

from harvester.sandbox.answer import HTML, Answer, Ask, error_page

PAGE = b'<!DOCTYPE html>\n<html lang="en">\n  <head>\n    <title>\n      Altmetrics\n    </title>\n  </head>\n</html>'


def as_accepted(ask: Ask, value: object, status: int = 200) -> Answer:
    """JSON, or a web page where HTML is preferred, or 500 where neither will do (O11)."""
    weights = _accepted(ask.headers.get("accept", "*/*"))
    for_json = max(weights.get("application/json", 0), weights.get("application/*", 0), weights.get("*/*", 0))
    for_html = max(weights.get("text/html", 0), weights.get("text/*", 0))
    if for_html > for_json or (for_html == for_json and _first(ask) == HTML):
        return Answer(status, PAGE, HTML)
    if not for_json:
        return error_page(500)
    return Answer(status, json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _first(ask: Ask) -> str:
    return ask.headers.get("accept", "").partition(",")[0].partition(";")[0].strip().lower()


def _accepted(header: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in header.split(","):
        name, _, rest = item.partition(";")
        quality = rest.strip().removeprefix("q=")
        try:
            found[name.strip().lower()] = float(quality) if quality else 1.0
        except ValueError:
            found[name.strip().lower()] = 1.0
    return found
