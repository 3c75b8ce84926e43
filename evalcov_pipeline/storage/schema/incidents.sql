-- Incidents, each in its newest version, and how many cases guard it. The set of these cases never shrinks.
CREATE TABLE IF NOT EXISTS incidents (
  incident_id VARCHAR NOT NULL PRIMARY KEY, -- the team's own id
  title VARCHAR NOT NULL, -- what happened, redacted
  "at" TIMESTAMP, -- when it happened, UTC; NULL where it was not stated
  category VARCHAR, -- kind of failure
  severity VARCHAR, -- as stated
  postmortem VARCHAR, -- link or text, redacted
  trace_ids VARCHAR[] NOT NULL, -- traces that show it
  case_ids VARCHAR[] NOT NULL, -- active regression cases that guard it
  cases_wanted BIGINT NOT NULL, -- cases that guard an incident well
  coverage VARCHAR NOT NULL, -- cases that guard it out of those wanted, such as 1/2
  status VARCHAR NOT NULL, -- open (no case yet), partial or guarded
  version BIGINT NOT NULL, -- 1 + number of edits
  first_recorded_at TIMESTAMP NOT NULL, -- first import, UTC
  recorded_at TIMESTAMP NOT NULL -- import of this version, UTC
);

-- Every version of every incident as it came: append-only. incidents is derived from it and from the ledger of eval cases.
CREATE TABLE IF NOT EXISTS incident_events (
  event_id BIGINT NOT NULL PRIMARY KEY, -- order of arrival, from 1
  incident_id VARCHAR NOT NULL, -- incident
  recorded_at TIMESTAMP NOT NULL, -- when it arrived, UTC
  payload VARCHAR NOT NULL -- the incident from then on, redacted: canonical JSON
);
