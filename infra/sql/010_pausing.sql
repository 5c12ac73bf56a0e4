-- Read models can be told to stand still from the web too: by these functions alone, which say who it was.
SET LOCAL ROLE wangge_owner;

ALTER TABLE projector.paused ADD COLUMN by text COLLATE "C" NOT NULL DEFAULT 'cli';

CREATE FUNCTION projector.pause(of_projection text, of_actor text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO projector.paused (projection, by) VALUES (of_projection, of_actor)
    ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION projector.resume(of_projection text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM projector.paused WHERE projection = of_projection
$$;

REVOKE ALL ON FUNCTION projector.pause, projector.resume FROM PUBLIC;
GRANT EXECUTE ON FUNCTION projector.pause, projector.resume TO wangge_app;
