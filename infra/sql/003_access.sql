-- What must not stand in a log that is kept for ever: the hashes of passwords.
SET LOCAL ROLE wangge_owner;

CREATE SCHEMA access;

CREATE TABLE access.credential (
    person     text        COLLATE "C" PRIMARY KEY,
    hash       text        NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

GRANT USAGE ON SCHEMA access TO wangge_app;
GRANT SELECT, INSERT, UPDATE ON access.credential TO wangge_app;
