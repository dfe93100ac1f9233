-- Times are microseconds since 1970, UTC. `key` is a hash of the event's key (source and id).

CREATE TABLE event (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    key     BLOB    NOT NULL UNIQUE,
    id      TEXT    NOT NULL,
    source  TEXT    NOT NULL,
    type    TEXT    NOT NULL,
    subject TEXT,
    at      INTEGER NOT NULL,           -- the receipt
    head    TEXT    NOT NULL            -- the event as JSON, its data null
) STRICT;
CREATE INDEX event_id ON event (id);
CREATE INDEX event_source ON event (source);
CREATE INDEX event_subject ON event (subject) WHERE subject IS NOT NULL;
CREATE INDEX event_at ON event (at);

CREATE TABLE body (
    seq  INTEGER PRIMARY KEY,           -- the event's
    at   INTEGER NOT NULL,
    form INTEGER NOT NULL,              -- 1: form-encoded, 0: JSON
    data TEXT    NOT NULL
) STRICT;
CREATE INDEX body_at ON body (at);

CREATE TABLE step (
    id     INTEGER PRIMARY KEY,
    key    BLOB    NOT NULL,
    at     INTEGER NOT NULL,
    route  TEXT,
    ending TEXT,                        -- of the step `ended`
    step   TEXT    NOT NULL             -- JSON
) STRICT;
CREATE INDEX step_key ON step (key);
CREATE INDEX step_at ON step (at);

CREATE TABLE refused (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    source TEXT    NOT NULL,
    status INTEGER NOT NULL,
    why    TEXT    NOT NULL,
    peer   TEXT    NOT NULL,
    bytes  INTEGER NOT NULL
) STRICT;
CREATE INDEX refused_source ON refused (source);
CREATE INDEX refused_at ON refused (at);

CREATE TABLE polled (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    source  TEXT    NOT NULL,
    events  INTEGER NOT NULL,
    note    TEXT,
    failed  INTEGER NOT NULL,
    took_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX polled_source ON polled (source);
CREATE INDEX polled_at ON polled (at);
