"""Every error of harvester, grouped by what the caller does next.

HarvesterError
├── TryAgain                 wait, then send the same request again
│   ├── TimedOut             no complete answer within the time allowed
│   ├── ConnectionLost       the connection ended before the answer was complete
│   │   └── Unreachable      no connection could be made: nothing was asked
│   │       └── NoResources  this machine has no file descriptor, port or memory left for one
│   ├── NotJson              200 with a web page: something in front of the service answered
│   ├── ServerBusy           429 or 503; may say how long to wait
│   └── ServerFailed         any other answer that another try may change (500, 502, 504, …)
├── GiveUp                   this DOI (or line, or entry) is a failure; go on with the next
│   ├── InvalidDoi           the text is no DOI
│   ├── DoiMismatch          the answer is about another DOI
│   ├── InvalidJson          the answer is not the JSON we need
│   ├── TooLarge             the answer is larger than the cap
│   ├── RedirectRefused      the answer points to where we do not go
│   ├── Refused              the service refuses this request for good (400, 404, …)
│   └── Unforeseen           something about this DOI made harvester itself fail
├── Outage                   the service as a whole is down; nobody is to blame, nothing is charged
├── Stopped                  somebody wants the run to end; what is not finished stays due
└── StopRun                  the run ends; each class carries its exit code
    ├── Usage            2   the command line asks for something that cannot be
    ├── OutOfBudget      4   the daily budget is used up; resumable
    ├── TimeIsUp         4   the time limit of a night is reached; resumable
    ├── PipeClosed       4   whoever read stdout went away
    ├── LockHeld        11   another run works on the same ledger
    ├── CredentialsRefused 12  OPERAS does not accept e-mail and password
    ├── InputUnusable   65   nothing in the input is a DOI
    ├── InputMissing    66   an input cannot be read
    ├── ServiceDown     69   a service stayed down for longer than our patience; resumable
    ├── PromiseBroken   70   output and ledger contradict each other
    │   └── LedgerLost  70   the ledger or its lock was taken away while the run went on
    ├── MachineExhausted 71  this machine can open no connections any more; resumable
    ├── DiskFailed      74   a write, sync or rename failed; resumable
    │   └── LedgerDamaged 74 what is in the ledger cannot be read any more
    ├── Misconfigured   78   a setting is wrong or missing
    └── Interrupted 130/143  ^C or SIGTERM; resumable
"""

from enum import StrEnum
from typing import ClassVar, Final


class FailureKind(StrEnum):
    """The kinds of failure, as they stand in the failures file and in the ledger. Each error class names its own."""

    INVALID_DOI = "invalid-doi"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    HTTP = "http"
    INVALID_JSON = "invalid-json"
    DOI_MISMATCH = "doi-mismatch"
    TOO_LARGE = "too-large"
    REDIRECT = "redirect"
    INTERNAL = "internal"
    REJECTED = "rejected"
    URL_LEFT_OUT = "url-left-out"


COMPLETE: Final = 0
"""Exit code of a run that is complete."""


TOO_MANY_FAILURES: Final = 3
"""Exit code of a run that is complete, with more failures than are allowed."""


class HarvesterError(Exception):
    """The root of the tree; never raised itself."""


class TryAgain(HarvesterError):
    """A request failed in a way that may pass; `kind` is the failure's kind if it never does.

    Args:
        message: what happened, without secrets.
        status: the HTTP status, if there was an answer.
        retry_after: seconds the server asks us to wait, already clamped to be positive; None if it did not say.
    """

    kind: ClassVar[FailureKind] = FailureKind.HTTP

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class TimedOut(TryAgain):
    """No complete answer within the total time allowed for one attempt."""

    kind = FailureKind.TIMEOUT


class ConnectionLost(TryAgain):
    """The connection ended before the answer was complete, or what came was no HTTP."""

    kind = FailureKind.CONNECTION


class Unreachable(ConnectionLost):
    """No connection could be made (DNS, refused, TLS). Nothing was asked, so it says nothing about any DOI."""


class NoResources(Unreachable):
    """This machine has no file descriptor, port or memory left for a connection, or for an answer that is coming."""


class NotJson(TryAgain):
    """200, but not labelled as JSON: something in front of the service answered in its place."""

    kind = FailureKind.INVALID_JSON


class ServerBusy(TryAgain):
    """429 or 503: the server wants fewer requests."""


class ServerFailed(TryAgain):
    """Any other answer that may be different next time: 500, 502, 504, an unexpected status."""


class GiveUp(HarvesterError):
    """This request will never give a result; `kind` is the failure's kind.

    Args:
        message: what happened, for a person, without secrets.
        status: the HTTP status, if there was an answer.
    """

    kind: ClassVar[FailureKind] = FailureKind.HTTP

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class InvalidDoi(GiveUp):
    """The text is no DOI."""

    kind = FailureKind.INVALID_DOI


class DoiMismatch(GiveUp):
    """The answer is about another DOI than the one asked for (wire fact P2)."""

    kind = FailureKind.DOI_MISMATCH


class InvalidJson(GiveUp):
    """The body is no JSON, or not the JSON object the service promises."""

    kind = FailureKind.INVALID_JSON


class TooLarge(GiveUp):
    """The decompressed body is larger than the cap."""

    kind = FailureKind.TOO_LARGE


class RedirectRefused(GiveUp):
    """A redirect to another origin, of a POST, or one too many."""

    kind = FailureKind.REDIRECT


class Refused(GiveUp):
    """The service refuses this very request: 400, 404, 414 and the like."""


class Unforeseen(GiveUp):
    """Something about this DOI made harvester fail in a way that nobody foresaw. It is in the log, with a traceback."""

    kind = FailureKind.INTERNAL


class Outage(HarvesterError):
    """The service as a whole is down; the work under way goes back to due without being charged an attempt."""


class Stopped(HarvesterError):
    """The run is to end early; whoever waits stops waiting and drops its work, which stays due."""


class StopRun(HarvesterError):
    """The run ends with `exit_code`; the message says what was kept and what to do next."""

    exit_code: int = 1
    name: ClassVar[str] = "bug"


class Usage(StopRun):
    """The command line asks for something that cannot be."""

    exit_code = 2
    name = "usage"


class OutOfBudget(StopRun):
    """The daily budget is used up; the same command goes on when it is free again."""

    exit_code = 4
    name = "stopped-early"


class TimeIsUp(StopRun):
    """The time limit of a night is reached; what is left keeps its place."""

    exit_code = 4
    name = "stopped-early"


class PipeClosed(StopRun):
    """Whoever read stdout went away; the run ends without a word."""

    exit_code = 4
    name = "stopped-early"


class LockHeld(StopRun):
    """Another run works on the same ledger."""

    exit_code = 11
    name = "locked"


class CredentialsRefused(StopRun):
    """OPERAS does not accept the e-mail and password, or the account is not approved."""

    exit_code = 12
    name = "credentials"


class InputUnusable(StopRun):
    """The inputs can be read but not used: no DOI in them, or a column that cannot be told."""

    exit_code = 65
    name = "input-unusable"


class InputMissing(StopRun):
    """An input does not exist or cannot be read."""

    exit_code = 66
    name = "input-missing"


class ServiceDown(StopRun):
    """A service stayed down for longer than our patience; the same command goes on later."""

    exit_code = 69
    name = "service-down"


class PromiseBroken(StopRun):
    """Output and ledger contradict each other; nothing is touched."""

    exit_code = 70
    name = "promise-broken"


class LedgerLost(PromiseBroken):
    """The ledger or its lock was deleted or replaced while the run went on; nothing more is written anywhere."""


class MachineExhausted(StopRun):
    """This machine could open no connection for longer than our patience; the same command goes on later."""

    exit_code = 71
    name = "system"


class DiskFailed(StopRun):
    """A write, sync or rename failed; what was committed before is safe."""

    exit_code = 74
    name = "disk"


class LedgerDamaged(DiskFailed):
    """What is in the ledger cannot be read any more, or makes no sense; `harvester recover` makes a new one."""


class Misconfigured(StopRun):
    """A setting is wrong, unknown or missing."""

    exit_code = 78
    name = "configuration"


class Interrupted(StopRun):
    """^C or SIGTERM ended the run; what was under way was committed.

    Args:
        signal_number: of the signal; the exit code is 128 + this.
    """

    name = "interrupted"

    def __init__(self, signal_number: int) -> None:
        super().__init__("stopped by a signal. What was harvested is kept; give the same command again to go on.")
        self.exit_code = 128 + signal_number
