-- How many calls at once each process may make of an account: shares of its limit, held for a while.
CREATE TABLE share (
    account TEXT    NOT NULL,
    owner   TEXT    NOT NULL,
    wants   INTEGER NOT NULL,
    has     INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (account, owner)
) STRICT, WITHOUT ROWID;

-- When the next call to an account may begin, by its rate.
CREATE TABLE turn (
    account TEXT PRIMARY KEY,
    next    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When it is tried whether what is suspended works again; null: a person resumes it, or its time.
ALTER TABLE suspension ADD COLUMN probe INTEGER;
