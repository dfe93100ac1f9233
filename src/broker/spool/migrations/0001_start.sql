-- Events that the broker has not taken yet, in the order in which they are to be published.
CREATE TABLE spooled (
  id INTEGER PRIMARY KEY,
  -- JSON, with the body byte for byte.
  event BLOB NOT NULL,
  -- The clock of its receipt.
  received INTEGER NOT NULL,
  -- True: it cannot be read, and waits for a person.
  aside INTEGER NOT NULL DEFAULT 0
) STRICT;
