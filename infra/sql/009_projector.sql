-- What is said to whoever keeps the read models: which of them are to stand still.
SET LOCAL ROLE wangge_owner;

CREATE SCHEMA projector;

CREATE TABLE projector.paused (
    projection text        COLLATE "C" PRIMARY KEY,
    since      timestamptz NOT NULL DEFAULT now()
);

GRANT USAGE ON SCHEMA projector TO wangge_app, wangge_projector;
GRANT SELECT ON projector.paused TO wangge_app;
GRANT SELECT, INSERT, DELETE ON projector.paused TO wangge_projector;
