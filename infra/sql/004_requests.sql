-- Commands that carry an Idempotency-Key: what was answered, kept in the same transaction as the events,
-- so that the same request sent again is answered and not done again.
SET LOCAL ROLE wangge_owner;

CREATE TABLE log.request (
    actor    text        COLLATE "C" NOT NULL,
    key      text        COLLATE "C" NOT NULL,
    digest   bytea       NOT NULL,           -- SHA-256 of the request: another one is not answered by it
    status   smallint    NOT NULL,
    position bigint      NOT NULL,           -- of the command's last event, 0 without events
    answer   bytea       NOT NULL,           -- JSON: the response without its position, or the refusal
    at       timestamptz NOT NULL,
    PRIMARY KEY (actor, key)
);
CREATE INDEX request_at ON log.request (at);

DROP FUNCTION log.append;

-- Appends all events or none, with the answers to be kept, and returns the position of the first event.
-- ``ends`` says for each answer how many of the events lead up to the end of its own, 0 without events.
-- unique_violation: another writer was faster, or a key has been answered. check_violation: a stream
-- would get a hole.
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
    datas        bytea[],
    askers       text[]     DEFAULT '{}',
    keys         text[]     DEFAULT '{}',
    digests      bytea[]    DEFAULT '{}',
    statuses     integer[]  DEFAULT '{}',
    ends         integer[]  DEFAULT '{}',
    answers      bytea[]    DEFAULT '{}'
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Plans are made once a connection, perhaps while the log is still empty, when reading all of it looks
-- cheap.
SET enable_seqscan = off AS $$
DECLARE
    n     constant integer     := cardinality(streams);
    now_   timestamptz;
    before bigint;
    stored integer;
BEGIN
    UPDATE log.head SET position = position + n RETURNING position - n INTO before;
    now_ := clock_timestamp();  -- not before our turn: times of recording go with the positions

    INSERT INTO log.event
    SELECT before + new.i, new.stream, new.version, new.name, coalesce(new.at, now_), now_,
           new.actor, new.roles, new.territory, new.correlation, new.causation, new.data
    FROM unnest(streams, versions, names, ats, actors, roles, territories, correlations, causations,
                datas) WITH ORDINALITY
      AS new(stream, version, name, at, actor, roles, territory, correlation, causation, data, i)
    WHERE new.version <= 1
       -- Not EXISTS, which may be answered by a hash of the whole log.
       OR (SELECT true FROM log.event e
           WHERE e.stream = new.stream AND e.version = new.version - 1)
       OR (new.stream, new.version - 1) IN (SELECT * FROM unnest(streams, versions));
    GET DIAGNOSTICS stored = ROW_COUNT;
    IF stored < n THEN
        RAISE EXCEPTION 'an event would leave a hole in its stream' USING ERRCODE = 'check_violation';
    END IF;

    IF cardinality(keys) > 0 THEN
        INSERT INTO log.request
        SELECT new.asker, new.key, new.digest, new.status,
               CASE new.ends WHEN 0 THEN 0 ELSE before + new.ends END, new.answer, now_
        FROM unnest(askers, keys, digests, statuses, ends, answers)
          AS new(asker, key, digest, status, ends, answer);
    END IF;

    IF n > 0 THEN
        PERFORM pg_notify('log', (before + n)::text);
    END IF;
    RETURN before + 1;
END
$$;

-- Whether an event whose append was not answered has been stored: its position, or null. Waits for
-- an append that is still under way.
CREATE FUNCTION log.settled(of_stream text, of_version integer, of_correlation text, of_data bytea)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found bigint;
BEGIN
    PERFORM FROM log.head FOR UPDATE;
    SELECT position INTO found FROM log.event
    WHERE stream = of_stream AND version = of_version AND correlation = of_correlation
      AND data = of_data;
    RETURN found;
END
$$;

-- Answers are kept for some days. Drops at most so many older ones; returns how many.
CREATE FUNCTION log.drop_answers(older_than interval, at_most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM log.request
        WHERE (actor, key) IN (
            SELECT actor, key FROM log.request
            WHERE at < now() - greatest(older_than, interval '7 days')
            ORDER BY at LIMIT at_most
        )
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;

REVOKE ALL ON FUNCTION log.append, log.settled, log.drop_answers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log.append, log.settled, log.drop_answers TO wangge_app;
GRANT SELECT ON log.request TO wangge_app;
