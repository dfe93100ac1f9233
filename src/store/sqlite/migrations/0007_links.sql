-- What was last written into a linked record: a hash; null where that is not known.
ALTER TABLE link ADD COLUMN content BLOB;
-- Whose an intent is, and until when (microseconds) nobody else may take the delivery up.
ALTER TABLE ledger ADD COLUMN holder TEXT;
ALTER TABLE ledger ADD COLUMN until INTEGER;
