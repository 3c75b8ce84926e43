-- Everything that ever happened to an eval case: append-only, each event hashed over the one before it. eval_cases is derived from it.
CREATE TABLE IF NOT EXISTS eval_case_events (
  event_id BIGINT NOT NULL PRIMARY KEY, -- position in the ledger, from 1 without gaps
  case_id VARCHAR NOT NULL, -- case that the event is about
  event VARCHAR NOT NULL, -- imported, edited, retired or superseded
  "at" TIMESTAMP NOT NULL, -- when it was recorded, UTC
  actor VARCHAR NOT NULL, -- who or what recorded it
  payload VARCHAR NOT NULL, -- the case as it is from this event on, canonical JSON
  previous_hash VARCHAR NOT NULL, -- hash of the event before; 64 zeros for the first
  hash VARCHAR NOT NULL -- SHA-256 over previous_hash and this event's fields
);

-- Where the ledger ends, noted apart from it in the same transaction: events cut off its end are missed.
CREATE TABLE IF NOT EXISTS ledger_head (
  events BIGINT NOT NULL, -- number of events
  hash VARCHAR NOT NULL -- hash of the newest
);

-- The eval suite: the newest version of every case.
CREATE TABLE IF NOT EXISTS eval_cases (
  case_id VARCHAR NOT NULL PRIMARY KEY, -- the suite's own id, or a content hash
  version BIGINT NOT NULL, -- 1 + number of later events
  input VARCHAR NOT NULL, -- text, or a JSON list of messages {role, content}, with tool_calls (names) where they called tools, and failed (true) where a tool did
  text_hash VARCHAR, -- last user message, redacted, see texts; NULL where there is none
  text_hashes VARCHAR[] NOT NULL, -- every user message in order, likewise; NULL where no text is left
  n_turns BIGINT NOT NULL, -- user messages in input
  expected VARCHAR, -- expected answer
  expected_tools VARCHAR[], -- tools that the answer to the last message should call, in order; NULL where the case does not say
  outcome VARCHAR, -- how the written conversation went: success, abandoned or error; NULL where the case does not say
  category VARCHAR, -- the team's own grouping
  tags VARCHAR[] NOT NULL, -- labels
  origin VARCHAR NOT NULL, -- hand_authored, synthetic, production or incident
  source_ref VARCHAR, -- where the case came from, such as a trace id
  status VARCHAR NOT NULL, -- active, retired or superseded
  regression BOOLEAN NOT NULL, -- guards a known failure: never leaves the suite unless a stricter case supersedes it
  supersedes VARCHAR, -- case that this one takes the place of
  designed BOOLEAN NOT NULL, -- placed by a refresh plan, so fixed by design in the statistics
  plan_id VARCHAR, -- refresh plan that it came from; NULL for other cases
  batch_id VARCHAR, -- failure batch that it came from; NULL for other cases
  incident_id VARCHAR, -- incident that it guards; NULL for other cases
  raters VARCHAR[], -- whose labels decided it; NULL for other cases
  created_at TIMESTAMP, -- as stated by the suite; NULL where it was not
  effective_at TIMESTAMP NOT NULL, -- from when the case counts: created_at, else the oldest traffic for the first import, else its import; a case of a plan from its label, or from the end of the last week with traffic if that is earlier
  imported_at TIMESTAMP NOT NULL -- first event
);

-- Every version of every case and when it counted: the suite of any day is the rows with valid_from <= day < valid_to.
CREATE TABLE IF NOT EXISTS eval_case_versions (
  case_id VARCHAR NOT NULL, -- case
  version BIGINT NOT NULL, -- 1 + number of earlier events
  input VARCHAR NOT NULL, -- text, or a JSON list of messages {role, content}, with tool_calls (names) where they called tools, and failed (true) where a tool did
  text_hash VARCHAR, -- last user message, redacted, see texts; NULL where there is none
  text_hashes VARCHAR[] NOT NULL, -- every user message in order, likewise; NULL where no text is left
  n_turns BIGINT NOT NULL, -- user messages in input
  expected VARCHAR, -- expected answer
  expected_tools VARCHAR[], -- tools that the answer to the last message should call, in order; NULL where the case does not say
  outcome VARCHAR, -- how the written conversation went: success, abandoned or error; NULL where the case does not say
  category VARCHAR, -- the team's own grouping
  tags VARCHAR[] NOT NULL, -- labels
  origin VARCHAR NOT NULL, -- hand_authored, synthetic, production or incident
  source_ref VARCHAR, -- where the case came from, such as a trace id
  status VARCHAR NOT NULL, -- active, retired or superseded
  regression BOOLEAN NOT NULL, -- guards a known failure: never leaves the suite unless a stricter case supersedes it
  supersedes VARCHAR, -- case that this one takes the place of
  designed BOOLEAN NOT NULL, -- placed by a refresh plan, so fixed by design in the statistics
  plan_id VARCHAR, -- refresh plan that it came from; NULL for other cases
  batch_id VARCHAR, -- failure batch that it came from; NULL for other cases
  incident_id VARCHAR, -- incident that it guards; NULL for other cases
  raters VARCHAR[], -- whose labels decided it; NULL for other cases
  created_at TIMESTAMP, -- as stated by the suite; NULL where it was not
  effective_at TIMESTAMP NOT NULL, -- from when the case counts: created_at, else the oldest traffic for the first import, else its import; a case of a plan from its label, or from the end of the last week with traffic if that is earlier
  imported_at TIMESTAMP NOT NULL, -- first event
  valid_from TIMESTAMP NOT NULL, -- from when this version counted, UTC
  valid_to TIMESTAMP, -- until when, exclusive; NULL while it does
  PRIMARY KEY (case_id, version)
);

-- Results of eval runs, one row per case and repeat.
CREATE TABLE IF NOT EXISTS eval_results (
  run_id VARCHAR NOT NULL, -- eval run
  case_id VARCHAR NOT NULL, -- case; may be unknown to eval_cases
  repeat BIGINT NOT NULL, -- 0 = first try
  passed BOOLEAN, -- verdict; derived from score >= 0.5 where only a score was given
  score DOUBLE, -- score 0..1
  latency_ms DOUBLE, -- response time in milliseconds
  cost_usd DOUBLE, -- cost in US dollars
  judge_id VARCHAR, -- who or what gave the verdict, with version
  "at" TIMESTAMP NOT NULL, -- when the result was produced, UTC; the import's time where not stated
  system_version VARCHAR, -- version of the system under test
  model VARCHAR, -- model of the system under test
  category VARCHAR, -- as stated with the result
  output VARCHAR, -- the answer, redacted; NULL where it was not stated
  variant VARCHAR, -- 'known_bad' for deliberately broken systems: never scored as the product
  PRIMARY KEY (run_id, case_id, repeat)
);

-- Eval runs, summarised from their results (first tries).
CREATE TABLE IF NOT EXISTS eval_runs (
  run_id VARCHAR NOT NULL PRIMARY KEY, -- eval run
  finished_at TIMESTAMP NOT NULL, -- newest result, UTC
  n_cases BIGINT NOT NULL, -- cases with a first try
  n_active BIGINT NOT NULL, -- cases of the suite that were active when the run finished
  complete BOOLEAN NOT NULL, -- holds results for enough of the active cases to be scored
  pass_rate DOUBLE, -- share of first tries that passed, unweighted
  latency_ms DOUBLE, -- median response time in milliseconds
  cost_usd DOUBLE, -- mean cost per case in US dollars
  judge_id VARCHAR, -- judge of the run; several are joined by a comma
  system_version VARCHAR, -- version of the system under test
  model VARCHAR, -- model of the system under test
  variant VARCHAR -- 'known_bad' for deliberately broken systems
);

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
