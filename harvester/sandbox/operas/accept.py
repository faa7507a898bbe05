"""What OPERAS makes of the Accept header: JSON, a web page or an error (wire fact O11)."""

import json

from harvester.sandbox.messages import HTML, Answer, Request, error_page

PAGE = b'<!DOCTYPE html>\n<html lang="en">\n  <head>\n    <title>\n      Altmetrics\n    </title>\n  </head>\n</html>'


def as_accepted(request: Request, value: object, status: int = 200) -> Answer:
    """Answer with JSON. If the client prefers HTML, answer with a web page; if it accepts neither, with a 500."""
    weights = _accepted(request.headers.get("accept", "*/*"))
    for_json = max(weights.get("application/json", 0), weights.get("application/*", 0), weights.get("*/*", 0))
    for_html = max(weights.get("text/html", 0), weights.get("text/*", 0))
    if for_html > for_json or (for_html == for_json and _first(request) == HTML):
        return Answer(status, PAGE, HTML)
    if not for_json:
        return error_page(500)
    return Answer(status, json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _first(request: Request) -> str:
    return request.headers.get("accept", "").partition(",")[0].partition(";")[0].strip().lower()


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
