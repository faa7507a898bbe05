"""The ledger's tables, and what each version of them added."""

APPLICATION_ID = 0x48525652
"""`HRVR` in SQLite's `application_id`: tells a ledger from any other database."""


WORK_INDEXES = {
    "work_doi": "CREATE UNIQUE INDEX work_doi ON work(doi)",
    "work_due": "CREATE INDEX work_due ON work(id) WHERE state = 0",
    "work_figures": "CREATE INDEX work_figures ON work(listed, state, outcome)",
}
"""The first reading drops them and makes them anew, see `harvester.storage.bulk_load`. `work_due` serves the works that
are next, `work_figures` all counts."""


# AUTOINCREMENT: ids of failures only grow, so that ids above `invalid_up_to` belong to an interrupted reading.
_FIRST = f"""
CREATE TABLE work (
    id           INTEGER PRIMARY KEY,
    doi          TEXT NOT NULL,
    origin       TEXT NOT NULL,
    listed       INTEGER NOT NULL,
    state        INTEGER NOT NULL DEFAULT 0,
    outcome      TEXT,
    harvested_at TEXT,
    sha256       TEXT
) STRICT;
{"; ".join(WORK_INDEXES.values())};
CREATE TABLE failure (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    work_id     INTEGER REFERENCES work(id) ON DELETE CASCADE,
    stage       TEXT NOT NULL,
    doi         TEXT,
    input       TEXT NOT NULL,
    origin      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    http_status INTEGER,
    attempts    INTEGER NOT NULL,
    message     TEXT NOT NULL,
    failed_at   TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX failure_of_work ON failure(work_id, stage) WHERE work_id IS NOT NULL;
CREATE TABLE url (
    id         INTEGER PRIMARY KEY,
    work_id    INTEGER NOT NULL REFERENCES work(id) ON DELETE CASCADE,
    url        TEXT NOT NULL,
    settled    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (work_id, url)
) STRICT;
CREATE TABLE registration (
    work_id INTEGER PRIMARY KEY REFERENCES work(id) ON DELETE CASCADE,
    state   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX registration_waiting ON registration(work_id) WHERE state = 0;
CREATE TABLE prefix (prefix TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
"""


_VISITS = """
CREATE TABLE visit (
    work_id     INTEGER PRIMARY KEY REFERENCES work(id) ON DELETE CASCADE,
    state       TEXT NOT NULL,
    tried_at    INTEGER NOT NULL,
    good_at     INTEGER,
    misses      INTEGER NOT NULL DEFAULT 0,
    facts       TEXT,
    events      BLOB,
    metadata    BLOB,
    open_access BLOB,
    counts      TEXT
) STRICT;
CREATE TABLE history (
    work_id INTEGER NOT NULL REFERENCES work(id) ON DELETE CASCADE,
    at      INTEGER NOT NULL,
    counts  TEXT NOT NULL,
    PRIMARY KEY (work_id, at)
) STRICT, WITHOUT ROWID;
"""


_SEALS = """
-- `meta` may have the key `seal`. A version that does not know it would let it grow stale.
"""


STEPS = (_FIRST, _VISITS, _SEALS)
"""What each version of the schema adds to the one before. A step that was released is never changed."""


VERSION = len(STEPS)
"""Version of the schema, in SQLite's `user_version`. A ledger of a later version is refused, an older one migrated."""
