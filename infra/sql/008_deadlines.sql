-- What should have happened to a case by itself and could not: how often it was tried, why it failed, and
-- when it is tried again. What waits is a read model (deadlines); this is only how its doing went.
SET LOCAL ROLE wangge_owner;

CREATE SCHEMA automatic;

CREATE TABLE automatic.failure (
    "case"   text        COLLATE "C" NOT NULL,
    kind     text        COLLATE "C" NOT NULL,
    episode  integer     NOT NULL,
    attempts integer     NOT NULL,
    error    text        NOT NULL,
    retry_at timestamptz NOT NULL,
    PRIMARY KEY ("case", kind, episode)
);

GRANT USAGE ON SCHEMA automatic TO wangge_app, wangge_projector;
GRANT SELECT ON automatic.failure TO wangge_app, wangge_projector;
GRANT INSERT, UPDATE, DELETE ON automatic.failure TO wangge_projector;
