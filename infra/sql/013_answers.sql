-- How often a receiver has said no to the message that is waiting: only these tries are limited, those that
-- reached nobody are not.
SET LOCAL ROLE wangge_owner;

ALTER TABLE webhooks.delivery ADD COLUMN answered integer NOT NULL DEFAULT 0;
