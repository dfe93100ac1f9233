-- People look for events of a type, and of a type from one source; newest first, which is the order of the rows.
CREATE INDEX event_type ON event (type);
CREATE INDEX event_source_type ON event (source, type);
