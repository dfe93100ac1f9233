-- What sources remember of their subjects, to see what changed and what is gone.
CREATE TABLE snapshot (
    source TEXT NOT NULL,
    key    TEXT NOT NULL,
    hash   TEXT NOT NULL,
    value  TEXT NOT NULL,                   -- JSON
    PRIMARY KEY (source, key)
) STRICT, WITHOUT ROWID;
