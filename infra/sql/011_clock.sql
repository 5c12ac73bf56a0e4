-- Times of recording never go back, though the database's clock may (NTP, a moved machine): they go with
-- the positions, and what is asked as of a time is found by halving them. After a step back events bear the
-- time of the last one before it, until the clock has passed that.
SET LOCAL ROLE wangge_owner;

CREATE OR REPLACE FUNCTION log.append(
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
    -- Not before our turn: times of recording go with the positions.
    now_ := greatest(clock_timestamp(), (SELECT recorded_at FROM log.event WHERE position = before));

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
