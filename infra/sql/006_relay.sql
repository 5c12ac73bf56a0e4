-- The log carried out to Kafka, and logs of others brought in. A role of its own reads the log and
-- writes down how far it has come; the log itself knows nothing of it.
DO $$
BEGIN
    CREATE ROLE wangge_relay NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;

SET LOCAL ROLE wangge_owner;

CREATE SCHEMA relay;

-- Which log this is, among those of all districts: made when it is carried out for the first time.
CREATE TABLE relay.log (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id       uuid    NOT NULL DEFAULT gen_random_uuid()
);

-- How far a topic has the log: everything up to ``position`` was acknowledged. For each partition the
-- position and the offset of its last record, to see later whether the topic still holds it.
CREATE TABLE relay.topic (
    topic     text        COLLATE "C" PRIMARY KEY,
    position  bigint      NOT NULL,
    positions bigint[]    NOT NULL,
    offsets   bigint[]    NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (cardinality(positions) = cardinality(offsets))
);

-- The topics that read models here are built from. Positions count each log by itself: the number goes
-- into the upper bits, so that no two events have the same.
CREATE TABLE relay.source (
    topic  text    COLLATE "C" PRIMARY KEY,
    number integer NOT NULL UNIQUE CHECK (number BETWEEN 0 AND 32767),
    log    uuid    UNIQUE
);

-- Which of them a district's territories belong to: two may not speak of the same.
CREATE TABLE relay.root (
    root  text COLLATE "C" PRIMARY KEY,
    topic text COLLATE "C" NOT NULL REFERENCES relay.source
);

-- The last position that counted in a part before an offset: for ever true, and kept only to be found
-- quickly.
CREATE TABLE relay.mark (
    part           text   COLLATE "C" NOT NULL,
    before_offset  bigint NOT NULL,
    position       bigint NOT NULL,
    PRIMARY KEY (part, before_offset)
);

GRANT USAGE ON SCHEMA log TO wangge_relay;
GRANT SELECT ON log.event, log.head TO wangge_relay;
GRANT USAGE ON SCHEMA relay TO wangge_relay, wangge_app, wangge_projector;
GRANT SELECT, INSERT ON relay.log TO wangge_relay;
GRANT SELECT, INSERT, UPDATE ON relay.topic TO wangge_relay;
GRANT SELECT ON relay.topic TO wangge_app, wangge_projector;
GRANT SELECT ON relay.source TO wangge_app;
GRANT SELECT, INSERT, UPDATE ON relay.source TO wangge_projector;
GRANT SELECT, INSERT ON relay.root, relay.mark TO wangge_projector;
