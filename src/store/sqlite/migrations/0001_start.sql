-- Times are microseconds since 1970, UTC, unless a column says otherwise.
-- `key` columns of 16 bytes are hashes: rows that are kept for weeks under random keys stay narrow.

-- Routes by number, so that renaming one touches one row.
CREATE TABLE owner (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- One row a delivery. The columns from `event` on are of unfinished ones only.
CREATE TABLE ledger (
    route       INTEGER NOT NULL,
    key         BLOB    NOT NULL,           -- of event key and generation
    state       INTEGER NOT NULL,           -- 0 waiting, 1 open, 2 held, 3 done
    attempt     INTEGER NOT NULL,
    first_retry INTEGER,
    expires     INTEGER NOT NULL,
    ending      TEXT,                       -- of done ones
    event       TEXT,
    due         INTEGER,
    verb        TEXT,
    link_owner  INTEGER,
    link_key    TEXT,
    clock       INTEGER,                    -- the receipt
    process     INTEGER,
    PRIMARY KEY (route, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX ledger_unfinished ON ledger (link_owner, link_key, clock, process) WHERE state < 3;
CREATE INDEX ledger_done ON ledger (expires) WHERE state = 3;

-- Which event of a route first came with a body.
CREATE TABLE alias (
    route    INTEGER NOT NULL,
    body     BLOB    NOT NULL,              -- hash of body key and generation
    event    TEXT    NOT NULL,
    delivery BLOB    NOT NULL,              -- the event's `ledger.key`
    expires  INTEGER NOT NULL,
    PRIMARY KEY (route, body)
) STRICT, WITHOUT ROWID;
CREATE INDEX alias_expires ON alias (expires);

CREATE TABLE link (
    owner     INTEGER NOT NULL,
    key       TEXT    NOT NULL,
    remote_id TEXT,
    version   TEXT,
    clock     INTEGER NOT NULL,
    process   INTEGER NOT NULL,
    state     TEXT    NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    route      INTEGER NOT NULL,
    key        BLOB    NOT NULL,            -- `ledger.key`
    event_key  TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    event      TEXT    NOT NULL,            -- JSON
    sink       TEXT    NOT NULL,
    class      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    attempts   INTEGER NOT NULL,
    call       TEXT,                        -- JSON
    at         INTEGER NOT NULL,
    UNIQUE (route, key)
) STRICT;
CREATE INDEX dead_class ON dead (route, class);

CREATE TABLE lease (
    name    TEXT PRIMARY KEY,
    owner   TEXT,                           -- null: given back
    token   INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cursor (
    source TEXT PRIMARY KEY,
    value  TEXT NOT NULL                    -- JSON
) STRICT;

CREATE TABLE suspension (
    scope TEXT NOT NULL,
    name  TEXT NOT NULL,
    why   TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE quota (
    account TEXT NOT NULL,
    month   TEXT NOT NULL,
    used    INTEGER NOT NULL,
    PRIMARY KEY (account, month)
) STRICT, WITHOUT ROWID;

CREATE TABLE fact (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL                     -- JSON
) STRICT;

-- The replay generation given out last.
CREATE TABLE generation (last INTEGER NOT NULL) STRICT;
INSERT INTO generation VALUES (0);
