"""The names of a nightly harvest's files: one ledger for all nights; for each night an output and files beside it."""

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from harvester.config.settings import MetricsSettings, NightlySettings, Settings
from harvester.core.errors import Misconfigured, Usage
from harvester.core.ownership import objection, refuse_others_file, size_of
from harvester.lists.inputs import was_made_by_harvester
from harvester.records.kinds import FAILURES, REPORT, SUMMARY
from harvester.records.packing import output_format
from harvester.reports.summary import Summary, from_json
from harvester.storage.paths import FAILURES_ENDING, REPORT_ENDING, SUMMARY_ENDING, stem_of

PLACEHOLDERS = {"{date}": r"\d{4}-\d\d-\d\d", "{run_id}": r"\d{8}T\d{6}Z"}
"""What a nightly harvest replaces in the name of its output, and the form of what comes in its place."""


MAX_SUMMARY_BYTES = 1024 * 1024
"""A summary has a few KiB; whatever is longer is none."""


ANY_NIGHT = datetime(1970, 1, 1, tzinfo=UTC)
"""Serves to check a template: whether it is usable does not depend on the night."""


def nights_ledger(settings: Settings) -> Path:
    """The ledger of the nights, from settings that are checked first.

    Raises:
        Misconfigured: something that nights need is missing, or something is set that only `harvester run` knows.
    """
    for name, value in (("[input] files", settings.input.files), ("[output] path", settings.output.path)):
        if not value:
            raise Misconfigured(f"a nightly harvest needs {name} in its configuration.")
    if "-" in settings.input.files:
        raise Misconfigured('[input] files has "-", standard input, to which nobody writes at night. Name a file.')
    if settings.ledger.path is None:
        raise Misconfigured(
            "a nightly harvest needs [ledger] path in its configuration: one ledger for all nights, while each night "
            "has an output of its own."
        )
    if settings.output.failures is not None:
        raise Misconfigured(
            "[output] failures is for harvester run: each night's failures lie beside its output. Leave it out."
        )
    output_of(settings.output.path or "", ANY_NIGHT)
    return settings.ledger.path


def is_for_nights(settings: Settings) -> bool:
    """Whether somebody meant these settings for nights: something is set that only they know."""
    is_template = bool(re.search(r"[{}]", settings.output.path or ""))
    return is_template or settings.nightly != NightlySettings() or settings.metrics != MetricsSettings()


def output_of(template: str, night: datetime) -> str:
    """The output of a night: the template with `{date}` (2026-11-22) and `{run_id}` (20261122T021700Z) filled in.

    Raises:
        Misconfigured: it has other placeholders, or none, so that each night would find the output of the night before;
            or an ending that says nothing.
    """
    folder, _, name = template.rpartition("/")
    filled = name.replace("{date}", f"{night:%Y-%m-%d}").replace("{run_id}", f"{night:%Y%m%dT%H%M%SZ}")
    if filled == name or re.search(r"[{}]", folder + filled):
        raise Misconfigured(
            f"[output] path is {template}; for a nightly harvest its file name needs "
            f"{' or '.join(PLACEHOLDERS)}, and there may be no other placeholders, nor any in the folder. "
            "Write for example /var/lib/harvester/{date}.jsonl.zst."
        )
    try:
        output_format(filled)
    except Usage as error:
        raise Misconfigured(f"[output] path: {error}") from None
    return f"{template.removesuffix(name)}{filled}"


def files_of(path: Path) -> list[Path]:
    """All files of a night, by the path of its output."""
    return [path, *(_beside(path, ending) for ending in (FAILURES_ENDING, SUMMARY_ENDING, REPORT_ENDING))]


def files_of_nights(template: str) -> list[Path]:
    """The files of all nights that are there: those that harvester made, under names that the template gives.

    Args:
        template: of the outputs.

    Raises:
        Misconfigured: it is no template for nights.
    """
    folder, name = Path(output_of(template, ANY_NIGHT)).parent, template.rpartition("/")[2]
    ending = output_format(name)
    stem = re.escape(name.removesuffix(ending))
    for placeholder, form in PLACEHOLDERS.items():
        stem = stem.replace(re.escape(placeholder), form)
    endings = "|".join(map(re.escape, (ending, FAILURES_ENDING, SUMMARY_ENDING, REPORT_ENDING)))
    of_a_night = re.compile(rf"{stem}({endings})(\.partial|\.new|\.\d+)?")
    with suppress(OSError):  # the folder is missing, or cannot be read: whoever needs it says so
        named = [path for path in sorted(folder.iterdir()) if of_a_night.fullmatch(path.name)]
        return [path for path in named if was_made_by_harvester(str(path))]
    return []


def refuse_taken(output: Path) -> None:
    """Refuse to begin a night where another one left files, such as one with another ledger.

    Args:
        output: of the night; the store refuses one that is there itself.

    Raises:
        Usage: one of the files beside the output is there already.
        DiskFailed: that cannot be found out.
    """
    for path, kind in zip(files_of(output)[1:], (FAILURES, SUMMARY, REPORT), strict=True):
        refuse_others_file(path, kind)
        if kind is not REPORT and size_of(path):  # a page alone is that of a night that could not begin
            raise Usage(
                f"{path} is there already, and the ledger knows nothing of that night. Nothing was asked and nothing "
                "was changed; move it away, or choose another name in [output] path."
            )


def report_path(path: Path) -> Path:
    """The path of the report of a night, by the path of its output."""
    return _beside(path, REPORT_ENDING)


def _beside(path: Path, ending: str) -> Path:
    """A file that has the name of an output, with another ending."""
    return path.with_name(stem_of(path) + ending)


def last_summary(outputs: Sequence[str]) -> Summary | None:
    """The summary of the last of these nights; None if it cannot be read any more, or is none.

    Args:
        outputs: of nights, the latest last.
    """
    if not outputs:
        return None
    path = _beside(Path(outputs[-1]), SUMMARY_ENDING)
    try:
        if objection(path, SUMMARY):
            return None
        with path.open("rb") as file:
            return from_json(file.read(MAX_SUMMARY_BYTES))
    except (OSError, ValueError, KeyError, TypeError):
        return None
