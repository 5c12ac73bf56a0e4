-- The log: one row an event, dense positions in commit order, appended by one function, never changed.
SET LOCAL ROLE wangge_owner;

CREATE SCHEMA log;

CREATE TABLE log.event (
    position    bigint      PRIMARY KEY,
    stream      text        COLLATE "C" NOT NULL,
    version     integer     NOT NULL CHECK (version >= 0),
    name        text        COLLATE "C" NOT NULL,
    at          timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    actor       text        COLLATE "C" NOT NULL,
    roles       text        COLLATE "C" NOT NULL,
    territory   text        COLLATE "C" NOT NULL,
    correlation text        COLLATE "C" NOT NULL,
    causation   text        COLLATE "C" NOT NULL,
    data        bytea       NOT NULL,
    CONSTRAINT event_stream_version UNIQUE (stream, version)
);

-- The last position given away. Its row lock puts writers in one line, which makes positions dense and
-- equal to commit order: a reader that has seen position n will never be shown a smaller one later.
CREATE TABLE log.head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint  NOT NULL
);
INSERT INTO log.head (position) VALUES (0);

CREATE FUNCTION log.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log.event
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

-- Appends all events or none and returns the position of the first.
-- unique_violation: another writer was faster. check_violation: a stream would get a hole.
CREATE FUNCTION log.append(
    streams      text[],
    versions     integer[],
    names        text[],
    ats          timestamptz[],
    actors       text[],
    roles        text[],
    territories  text[],
    correlations text[],
    causations   text[],
    datas        bytea[]
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n    constant integer     := cardinality(streams);
    now_ constant timestamptz := clock_timestamp();
    last bigint;
BEGIN
    UPDATE log.head SET position = position + n RETURNING position INTO last;

    INSERT INTO log.event
    SELECT last - n + new.i, new.stream, new.version, new.name, coalesce(new.at, now_), now_,
           new.actor, new.roles, new.territory, new.correlation, new.causation, new.data
    FROM unnest(streams, versions, names, ats, actors, roles, territories, correlations, causations,
                datas) WITH ORDINALITY
      AS new(stream, version, name, at, actor, roles, territory, correlation, causation, data, i);

    IF EXISTS (
        SELECT FROM unnest(streams, versions) AS new(stream, version)
        WHERE new.version > 1 AND NOT EXISTS (
            SELECT FROM log.event e
            WHERE e.stream = new.stream AND e.version = new.version - 1
        )
    ) THEN
        RAISE EXCEPTION 'an event would leave a hole in its stream' USING ERRCODE = 'check_violation';
    END IF;

    PERFORM pg_notify('log', last::text);
    RETURN last - n + 1;
END
$$;

REVOKE ALL ON FUNCTION log.append FROM PUBLIC;
GRANT USAGE ON SCHEMA log TO wangge_app, wangge_projector;
GRANT SELECT ON log.event, log.head TO wangge_app, wangge_projector;
GRANT EXECUTE ON FUNCTION log.append TO wangge_app;
