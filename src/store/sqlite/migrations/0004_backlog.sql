-- Of unfinished deliveries, to find them again; null where an older version wrote the line: 0, or unknown.
ALTER TABLE ledger ADD COLUMN generation INTEGER;

-- What waits is counted often.
CREATE INDEX ledger_waiting ON ledger (route, due, clock) WHERE state = 0;
