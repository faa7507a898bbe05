"""What the sandbox tells people: its page in a browser, and the greeting in the terminal."""

import html

from harvester.sandbox.faults.rates import FAULTS
from harvester.sandbox.state import SandboxState

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
code, pre { font: 14px/1.5 ui-monospace, monospace; background: #f3f3f0; border-radius: 3px }
code { padding: 0 .25em } pre { padding: .75rem; overflow-x: auto }
table { border-collapse: collapse } td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top }
h2 { margin-top: 2rem } .quiet { color: #666 }
"""

EXAMPLES = (
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


def command(state: SandboxState) -> str:
    """What to type in another terminal to harvest from this sandbox."""
    account = state.options.accounts[0] if state.options.accounts else None
    lines = [
        f"export HARVESTER_PAPERBUZZ__BASE_URL={state.paperbuzz_url}",
        f"export HARVESTER_PAPERBUZZ__EMAIL={account.email if account else 'you@example.org'}",
    ]
    if account:
        lines += [
            f"export HARVESTER_OPERAS__BASE_URL={state.operas_url}",
            f"export HARVESTER_OPERAS__EMAIL={account.email}",
            f"export HARVESTER_OPERAS__PASSWORD={account.password}",
        ]
    register = " --register" if account else ""
    return "\n".join([*lines, f"printf '10.5555/ok-%d\\n' $(seq 100) | harvester run - -o harvest.jsonl{register}"])


def greeting(state: SandboxState) -> str:
    """What stands in the terminal while the sandbox runs."""
    options = state.options
    accounts = [
        f"  {account.email} / {account.password}{'' if account.approved else '  (not approved: gets no token)'}"
        for account in options.accounts
    ]
    faults = ", ".join(f"{name}={rate:g}" for name, rate in options.faults.rates.items()) or "none (--faults all=0.05)"
    return "\n".join(
        [
            "harvester sandbox: Paperbuzz and OPERAS on this machine, with invented records. Ends with ^C.",
            "",
            f"  page       {state.url}",
            *(f"  {service.title:<9}  {state.base_url(name)}" for name, service in state.services.items()),
            f"  faults     {faults}",
            f"  log        {options.log_path or 'in memory only (--log PATH)'}",
            "",
            "OPERAS accounts:",
            *accounts,
            "",
            "In another terminal:",
            "",
            *(f"  {line}" for line in command(state).splitlines()),
        ]
    )


def page(state: SandboxState) -> str:
    """The whole page as HTML, with the present counts."""
    parts = [
        "<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>harvester sandbox</title>",
        f"<style>{_STYLE}</style><h1>harvester sandbox</h1>",
        f"<p>{_ABOUT}</p>",
        "<h2>Where</h2>",
        _table([(service.title, state.base_url(name)) for name, service in state.services.items()]),
        "<h2>Accounts</h2>",
        _table(
            [(account.email, _about(account.password, approved=account.approved)) for account in state.options.accounts]
        ),
        f"<h2>Try</h2><pre>{html.escape(command(state))}</pre>",
        _table([(_link(state, doi), text) for doi, text in EXAMPLES], raw=True),
        "<h2>So far</h2>",
        _counts(state),
        "<h2>Faults</h2><p>At the start <code>harvester sandbox --faults 429=0.1,reset=0.02</code>, or now:</p>",
        f'<pre>curl -d \'{{"faults": "all=0.05"}}\' {html.escape(state.url)}_sandbox/faults</pre>',
        _table([(name, text) for name, (_, text) in FAULTS.items()]),
    ]
    return "\n".join(parts)


def _about(password: str, *, approved: bool) -> str:
    return f"password {password}" + ("" if approved else ", not approved: gets no token")


def _link(state: SandboxState, doi: str) -> str:
    return f"<a href='{html.escape(state.paperbuzz_url)}doi/{doi}'>{doi}</a>"


def _counts(state: SandboxState) -> str:
    log = state.log
    rows = [(f"answers: {name}", str(count)) for name, count in sorted(log.statuses.items())]
    rows += [(f"faults: {name}", str(count)) for name, count in sorted(log.faults.items())]
    rows += [
        ("DOIs registered", str(len(state.operas.registered))),
        ("most requests at once for one DOI", str(state.same_doi.most)),
        ("most POSTs at once of one account", str(state.posts_at_once.most)),
    ]
    if state.options.watch_rate is not None:
        rows.append(("windows over the watched rate", str(len(state.rate_violations()))))
    return _table([("simulated day", str(state.day)), ("requests", str(log.total)), *rows])


def _table(rows: list[tuple[str, str]], *, raw: bool = False) -> str:
    """A table of two columns, the first as code; `raw` if the first is already HTML."""
    cells = (f"<tr><td><code>{name if raw else html.escape(name)}</code><td>{html.escape(text)}" for name, text in rows)
    return f"<table>{''.join(cells)}</table>"
