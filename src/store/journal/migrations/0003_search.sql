-- People look for events of a type, and of a type from one source; newest first, which is the order of the rows.
CREATE INDEX event_type ON event (type);
CREATE INDEX event_source_type ON event (source, type);
-- How much ended how in a time is counted from the index alone.
CREATE INDEX step_ended ON step (at, ending) WHERE ending IS NOT NULL;
