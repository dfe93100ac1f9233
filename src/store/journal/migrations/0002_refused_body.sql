-- What was refused and nobody else has any more.
ALTER TABLE refused ADD COLUMN body TEXT;
