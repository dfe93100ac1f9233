-- Since when it is unknown whether a call of the delivery took effect; `verb` says which.
ALTER TABLE ledger ADD COLUMN since INTEGER;
