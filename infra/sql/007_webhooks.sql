-- Who outside has been told how much. Receivers themselves are events; this is how their deliveries go: a
-- place in the log each, and what was given up. The backlog of one that is away is the log itself.
SET LOCAL ROLE wangge_owner;

CREATE SCHEMA webhooks;

-- How far the events of the receivers' own stream have been acted upon.
CREATE TABLE webhooks.control (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  integer NOT NULL
);
INSERT INTO webhooks.control (version) VALUES (0);

-- ``position`` is the last one that was told, or was not for this receiver, or was given up.
CREATE TABLE webhooks.delivery (
    receiver     text        COLLATE "C" PRIMARY KEY,
    position     bigint      NOT NULL,
    delivered    bigint      NOT NULL DEFAULT 0,
    attempts     integer     NOT NULL DEFAULT 0,
    failing_since timestamptz,
    retry_at     timestamptz,
    error        text
);

-- Dead letters. ``again``: somebody wants it sent once more.
CREATE TABLE webhooks.dead (
    receiver text        COLLATE "C" NOT NULL,
    position bigint      NOT NULL,
    attempts integer     NOT NULL,
    error    text        NOT NULL,
    died_at  timestamptz NOT NULL,
    again    boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (receiver, position)
);
CREATE INDEX dead_again ON webhooks.dead (receiver, position) WHERE again;

GRANT USAGE ON SCHEMA webhooks TO wangge_app, wangge_projector;
GRANT SELECT ON ALL TABLES IN SCHEMA webhooks TO wangge_app, wangge_projector;
GRANT UPDATE ON webhooks.control TO wangge_projector;
GRANT INSERT, UPDATE, DELETE ON webhooks.delivery, webhooks.dead TO wangge_projector;
