-- The vault: the key of every person and of every case's free text, each wrapped by a key (the KEK) that
-- is in no database. It may stand in a database of its own, so this file rests on no other. Its owner
-- cannot sign in; wangge_vault reads and changes it through functions; no other role can use it.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['wangge_vault_owner', 'wangge_vault'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
    EXECUTE format('GRANT CREATE ON DATABASE %I TO wangge_vault_owner', current_database());
    EXECUTE format('GRANT wangge_vault_owner TO %I', current_user);
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
SET LOCAL ROLE wangge_vault_owner;

CREATE SCHEMA vault;

-- The epochs of the KEK: not the key, but what only that key can give, so that a wrong file is noticed.
CREATE TABLE vault.kek (
    epoch      integer     PRIMARY KEY CHECK (epoch > 0),
    commitment bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A destroyed key leaves its row, as proof that there was one and so that it is never made again.
CREATE TABLE vault.key (
    subject      text        COLLATE "C" NOT NULL,
    generation   integer     NOT NULL CHECK (generation > 0),
    epoch        integer     REFERENCES vault.kek,
    wrapped      bytea,
    commitment   bytea       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    destroyed_at timestamptz,
    PRIMARY KEY (subject, generation),
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL) AND (wrapped IS NULL) = (epoch IS NULL))
);

CREATE UNIQUE INDEX key_alive ON vault.key (subject) WHERE wrapped IS NOT NULL;

CREATE FUNCTION vault.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.wrapped IS NOT NULL
           AND (NEW.subject, NEW.generation, NEW.commitment, NEW.created_at)
             = (OLD.subject, OLD.generation, OLD.commitment, OLD.created_at) THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'a key is wrapped anew or destroyed, nothing else: % refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER destroyed_for_ever BEFORE UPDATE ON vault.key
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_change();
CREATE TRIGGER no_row_goes BEFORE DELETE OR TRUNCATE ON vault.key
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();

-- Puts in what is offered where it is the next generation and no key is alive, and returns the newest
-- generation of every subject: whoever comes second gets the key of whoever came first. A row without
-- ``wrapped`` says that the next generation is to be offered.
CREATE FUNCTION vault.provide(
    subjects    text[],
    generations integer[],
    wrappeds    bytea[],
    commitments bytea[],
    sealed_by   integer
) RETURNS TABLE (subject text, generation integer, epoch integer, wrapped bytea, commitment bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    -- In one order for all, so that no two of us wait for one another.
    INSERT INTO vault.key (subject, generation, epoch, wrapped, commitment)
    SELECT new.subject, new.generation, sealed_by, new.wrapped, new.commitment
    FROM unnest(subjects, generations, wrappeds, commitments)
      AS new(subject, generation, wrapped, commitment)
    WHERE new.generation = 1 + coalesce(
              (SELECT max(k.generation) FROM vault.key k WHERE k.subject = new.subject), 0)
      AND NOT EXISTS (
              SELECT FROM vault.key k WHERE k.subject = new.subject AND k.wrapped IS NOT NULL)
    ORDER BY new.subject COLLATE "C"
    ON CONFLICT DO NOTHING;

    RETURN QUERY
    SELECT DISTINCT ON (k.subject) k.subject, k.generation, k.epoch, k.wrapped, k.commitment
    FROM vault.key k WHERE k.subject = ANY (subjects)
    ORDER BY k.subject, k.generation DESC;
END
$$;

-- Destroys the keys of these subjects, those made until ``made_until`` if it is given; returns how many.
CREATE FUNCTION vault.destroy(subjects text[], made_until timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n integer;
BEGIN
    WITH found AS (
        SELECT k.subject, k.generation FROM vault.key k
        WHERE k.subject = ANY (subjects) AND k.wrapped IS NOT NULL
          AND (made_until IS NULL OR k.created_at <= made_until)
        ORDER BY k.subject, k.generation FOR UPDATE
    )
    UPDATE vault.key k SET wrapped = NULL, epoch = NULL, destroyed_at = clock_timestamp()
    FROM found WHERE k.subject = found.subject AND k.generation = found.generation;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;

-- Keys wrapped anew; one that was destroyed or wrapped by somebody else meanwhile is left as it is.
CREATE FUNCTION vault.rewrap(
    subjects    text[],
    generations integer[],
    epochs      integer[],
    wrappeds    bytea[],
    sealed_by   integer
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n integer;
BEGIN
    WITH found AS (
        SELECT k.subject, k.generation, new.wrapped
        FROM unnest(subjects, generations, epochs, wrappeds)
          AS new(subject, generation, epoch, wrapped)
        JOIN vault.key k
          ON k.subject = new.subject AND k.generation = new.generation AND k.epoch = new.epoch
        ORDER BY k.subject, k.generation FOR UPDATE OF k
    )
    UPDATE vault.key k SET wrapped = found.wrapped, epoch = sealed_by
    FROM found WHERE k.subject = found.subject AND k.generation = found.generation;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;

-- A further epoch of the KEK: newer than all others, for an older one was given up.
CREATE FUNCTION vault.add_epoch(new_epoch integer, new_commitment bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF new_epoch <= (SELECT max(k.epoch) FROM vault.kek k) THEN
        RAISE EXCEPTION 'epoch % is not a new one', new_epoch USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO vault.kek (epoch, commitment) VALUES (new_epoch, new_commitment);
END
$$;

-- Gives up the epochs that wrap no key, but not the newest; returns them. The foreign key holds back
-- one that a key is just being wrapped by.
CREATE FUNCTION vault.drop_epochs() RETURNS SETOF integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM vault.kek old
    WHERE old.epoch < (SELECT max(k.epoch) FROM vault.kek k)
      AND NOT EXISTS (SELECT FROM vault.key k WHERE k.epoch = old.epoch)
    RETURNING old.epoch
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA vault FROM PUBLIC;
GRANT USAGE ON SCHEMA vault TO wangge_vault;
GRANT SELECT ON vault.key, vault.kek TO wangge_vault;
GRANT EXECUTE ON FUNCTION vault.provide, vault.destroy, vault.rewrap, vault.add_epoch,
    vault.drop_epochs TO wangge_vault;

-- From PostgreSQL 17 on its role may VACUUM what a destroyed key has left; before, autovacuum does.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 170000 THEN
        EXECUTE 'GRANT MAINTAIN ON vault.key TO wangge_vault';
    END IF;
END
$$;
