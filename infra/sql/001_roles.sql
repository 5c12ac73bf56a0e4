-- Three roles of least privilege. The owner owns the log and cannot sign in; the app appends through
-- one function and reads; the projector reads the log and owns the read models it builds.
-- Roles belong to the whole cluster, so another database of it may have made them already. What they
-- may do with this database as a whole is granted at every start: a copy of a database has none of it.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['wangge_owner', 'wangge_app', 'wangge_projector'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
    EXECUTE format('GRANT CREATE ON DATABASE %I TO wangge_owner', current_database());
    EXECUTE format('GRANT wangge_owner TO %I', current_user);
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
