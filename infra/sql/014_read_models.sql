-- Read models that others have taken in: `worklist` keeps its own past, `audit` the timelines of cases.
SET LOCAL ROLE wangge_projector;

DROP SCHEMA IF EXISTS past_cases, past_cases_rebuild, timeline, timeline_rebuild CASCADE;
DELETE FROM projector.paused WHERE projection IN ('past_cases', 'timeline');
