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
  coverage VARCHAR NOT NULL, -- cases that guard it out of those wanted, such as 1/2; 3/2 where there is one more than wanted
  status VARCHAR NOT NULL, -- open (no case yet), partial or guarded
  version BIGINT NOT NULL, -- 1 + number of edits
  first_recorded_at TIMESTAMP NOT NULL, -- first import, UTC
  recorded_at TIMESTAMP NOT NULL -- import of this version, UTC
);

-- Every version of every incident as it came: append-only, each event hashed over the one before it. incidents is derived from it and from the ledger of eval cases.
CREATE TABLE IF NOT EXISTS incident_events (
  event_id BIGINT NOT NULL PRIMARY KEY, -- order of arrival, from 1
  incident_id VARCHAR NOT NULL, -- incident
  recorded_at TIMESTAMP NOT NULL, -- when it arrived, UTC
  payload VARCHAR NOT NULL, -- the incident from then on, redacted: canonical JSON with the ids of its cases as they were stated
  previous_hash VARCHAR NOT NULL, -- hash of the event before; 64 zeros for the first
  hash VARCHAR NOT NULL -- SHA-256 over previous_hash and this event's fields
);

-- Where the history of incidents ends, noted apart from it in the same transaction: events cut off its end are missed.
CREATE TABLE IF NOT EXISTS incident_head (
  events BIGINT NOT NULL, -- number of events
  hash VARCHAR NOT NULL -- hash of the newest
);
