"""The jobs: every part is built and connected here, and nowhere else.

The way of one DOI through the files: `doilist` reads it, `store` enrols it in the `ledger`, `pipeline` hands it to
`fetch`, which asks through `paperbuzz`, `budget` and `transport`; `store` commits what came of it, `registrar` takes it
from the outbox to OPERAS through `operas`; `report` sums up.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import BinaryIO

from platformdirs import user_state_path

from harvester.breaker import Breaker
from harvester.budget import Budget, Metered, Quota, quota_path
from harvester.clock import Clock, Stop, StoppableClock, SystemClock, timestamp
from harvester.config import OperasSettings, PaperbuzzSettings, Secret, Settings
from harvester.doilist import ListOptions, read_list
from harvester.errors import InputUnusable, Misconfigured, ServiceDown, StopRun
from harvester.fetch import Fetcher
from harvester.jsonl import output_format
from harvester.lock import lock
from harvester.operas import OperasClient
from harvester.paperbuzz import PaperbuzzClient
from harvester.pipeline import Pipeline
from harvester.registrar import Registrar
from harvester.report import Report, Tally
from harvester.store import Reading, Store
from harvester.transport import AiohttpTransport
from harvester.wire import Transport
