-- The embedded broker. Times are milliseconds since 1970, UTC.

CREATE TABLE queue (
    id       INTEGER PRIMARY KEY AUTOINCREMENT, -- a late publish to a removed queue must not find another
    name     TEXT    NOT NULL UNIQUE,
    bound    INTEGER NOT NULL,              -- 0: no config names it any more; it receives nothing
    sources  TEXT,                          -- JSON list; null: all
    types    TEXT,                          -- JSON list; null: all
    messages INTEGER NOT NULL DEFAULT 0,    -- kept, so that a depth costs no count
    newest   INTEGER NOT NULL DEFAULT 0     -- the latest `Received::clock` that ever went in
) STRICT;

-- Bodies, once for all queues. Ids rise in the order of publishing and are not used again within a process.
CREATE TABLE body (
    id    INTEGER PRIMARY KEY,
    event BLOB NOT NULL                     -- JSON
) STRICT;

-- A queue is a range of the primary key, in the order of publishing.
CREATE TABLE message (
    queue    INTEGER NOT NULL,
    id       INTEGER NOT NULL,
    body     INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    entered  INTEGER NOT NULL,              -- when it was published
    due      INTEGER NOT NULL,              -- 0: a fresh one, never put in wait
    received INTEGER NOT NULL,
    PRIMARY KEY (queue, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_due ON message (queue, due, received) WHERE due > 0;
CREATE INDEX message_body ON message (body);
