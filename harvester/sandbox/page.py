"""The page that the sandbox shows in a browser."""

import html
from typing import TYPE_CHECKING

from harvester.sandbox.faults.rates import FAULTS

if TYPE_CHECKING:
    from harvester.sandbox.server import Sandbox

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
code, pre { font: 14px/1.5 ui-monospace, monospace; background: #f3f3f0; border-radius: 3px }
code { padding: 0 .25em } pre { padding: .75rem; overflow-x: auto }
table { border-collapse: collapse } td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top }
h2 { margin-top: 2rem } .quiet { color: #666 }
"""

TRY = (
    ("10.5555/ok-1", "a record"),
    ("10.5555/quiet-1", "known, without events"),
    ("10.5555/empty-1", "unknown"),
    ("10.5555/degraded-1", "metadata or open-access data missing"),
    ("10.5555/giant-1", "2,500 events"),
    ("10.5555/500-1", "500 for good"),
    ("10.5555/slow-1", "late"),
    ("10.5555/fault-429", "a fault by its name, always"),
    ("10.5555/heals-429", "a fault by its name, the first time only"),
)


_ABOUT = (
    "Stand-ins for Paperbuzz and OPERAS Altmetrics on this machine. Records are invented, nothing leaves the machine, "
    "and what is registered here is forgotten when the sandbox ends."
)


def command(sandbox: "Sandbox") -> str:
    """What to type in another terminal to harvest from here."""
    account = sandbox.options.accounts[0] if sandbox.options.accounts else None
    lines = [
        f"export HARVESTER_PAPERBUZZ__BASE_URL={sandbox.paperbuzz_url}",
        f"export HARVESTER_PAPERBUZZ__EMAIL={account.email if account else 'you@example.org'}",
    ]
    if account:
        lines += [
            f"export HARVESTER_OPERAS__BASE_URL={sandbox.operas_url}",
            f"export HARVESTER_OPERAS__EMAIL={account.email}",
            f"export HARVESTER_OPERAS__PASSWORD={account.password}",
        ]
    register = " --register" if account else ""
    return "\n".join([*lines, f"printf '10.5555/ok-%d\\n' $(seq 100) | harvester run - -o harvest.jsonl{register}"])


def page(sandbox: "Sandbox") -> str:
    """The whole page, with counts as of now."""
    parts = [
        "<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>harvester sandbox</title>",
        f"<style>{_STYLE}</style><h1>harvester sandbox</h1>",
        f"<p>{_ABOUT}</p>",
        "<h2>Where</h2>",
        _table([("Paperbuzz", sandbox.paperbuzz_url), ("OPERAS", sandbox.operas_url)]),
        "<h2>Accounts</h2>",
        _table(
            [
                (account.email, _about(account.password, approved=account.approved))
                for account in sandbox.options.accounts
            ]
        ),
        f"<h2>Try</h2><pre>{html.escape(command(sandbox))}</pre>",
        _table([(_link(sandbox, doi), text) for doi, text in TRY], raw=True),
        "<h2>So far</h2>",
        _counts(sandbox),
        "<h2>Faults</h2><p>At the start <code>harvester sandbox --faults 429=0.1,reset=0.02</code>, or now:</p>",
        f'<pre>curl -d \'{{"faults": "all=0.05"}}\' {html.escape(sandbox.url)}_sandbox/faults</pre>',
        _table([(name, text) for name, (_, text) in FAULTS.items()]),
    ]
    return "\n".join(parts)


def _about(password: str, *, approved: bool) -> str:
    return f"password {password}" + ("" if approved else ", not approved: gets no token")


def _link(sandbox: "Sandbox", doi: str) -> str:
    return f"<a href='{html.escape(sandbox.paperbuzz_url)}doi/{doi}'>{doi}</a>"


def _counts(sandbox: "Sandbox") -> str:
    log = sandbox.log
    rows = [(f"answers: {name}", str(count)) for name, count in sorted(log.statuses.items())]
    rows += [(f"faults: {name}", str(count)) for name, count in sorted(log.faults.items())]
    rows += [
        ("DOIs registered", str(len(sandbox.operas.registered))),
        ("most requests at once for one DOI", str(sandbox.same_doi.most)),
        ("most POSTs at once of one account", str(sandbox.posts_at_once.most)),
    ]
    if sandbox.options.watch_rate is not None:
        rows.append(("windows over the watched rate", str(len(sandbox.rate_violations()))))
    return _table([("simulated day", str(sandbox.day)), ("requests", str(log.total)), *rows])


def _table(rows: list[tuple[str, str]], *, raw: bool = False) -> str:
    """Two columns, the first in typewriter; `raw` if the first is already HTML."""
    cells = (f"<tr><td><code>{name if raw else html.escape(name)}</code><td>{html.escape(text)}" for name, text in rows)
    return f"<table>{''.join(cells)}</table>"
