-- Queries that people are asked about, one row per task. Everything in it is redacted.
CREATE TABLE IF NOT EXISTS annotation_queue (
  task_id VARCHAR NOT NULL PRIMARY KEY, -- the same query of the same plan or batch has the same id
  plan_id VARCHAR, -- refresh plan that asks
  batch_id VARCHAR, -- batch that asks, where it is no plan
  purpose VARCHAR NOT NULL, -- new_case; failure or incident: a regression case, with people's own expected answer; or calibration: labels that a judge is held against. Only a new case gets suggestions
  item_id VARCHAR, -- judged answer that it is about, see judge_verdicts; NULL where it is a trace or nobody judged it
  incident_id VARCHAR, -- incident that it is to guard
  selection VARCHAR, -- how it was drawn from the answers that judges judge: random, by_verdict or verdict_blind; NULL where nobody knows
  inclusion_probability DOUBLE, -- chance of that draw; NULL where there is none, or nobody knows
  text VARCHAR NOT NULL, -- the query
  text_hash VARCHAR NOT NULL, -- see texts
  context VARCHAR, -- what was said before it in its session: JSON list of messages as in eval_cases.input; NULL for a first turn
  answer VARCHAR, -- what production answered; NULL where it was not captured
  tools VARCHAR[], -- tools that production called for the answer, in order; NULL where its source records none
  outcome VARCHAR, -- how a whole session went: success, abandoned or error; NULL where unknown, and for a query
  cluster_id INTEGER, -- cluster of the query; -1 = novel
  cluster_key VARCHAR, -- stable name of the cluster
  cluster_label VARCHAR, -- its short description
  category VARCHAR, -- category of most cases of the cluster, as a hint; NULL where there is none
  reason VARCHAR NOT NULL, -- why it is asked about
  source VARCHAR, -- system that the query came from
  trace_id VARCHAR, -- its trace
  turn_index BIGINT, -- its place in its session
  designed BOOLEAN NOT NULL, -- picked on purpose, so that the case is fixed by design in the statistics
  status VARCHAR NOT NULL, -- open, labelled (more labels are wanted), adjudicate, kept, rejected or superseded
  route VARCHAR NOT NULL, -- queue of the people who label it
  priority DOUBLE NOT NULL, -- higher is asked first
  raters_wanted BIGINT NOT NULL, -- independent labels that decide
  suggestion VARCHAR, -- suggested label: JSON of {keep, passed, expected, category, by, confidence, neighbours}; NULL where there is none
  case_id VARCHAR, -- eval case that came of it; NULL before it is merged
  merged_at TIMESTAMP, -- decision (resolved_at) that the case in the suite follows; NULL where none does
  created_at TIMESTAMP NOT NULL, -- when it was queued, UTC; its age counts from here
  resolved_at TIMESTAMP -- when people had decided; NULL before
);

-- What people say now about a task, one row per task and rater.
CREATE TABLE IF NOT EXISTS annotations (
  task_id VARCHAR NOT NULL, -- task
  rater VARCHAR NOT NULL, -- who labelled
  keep BOOLEAN NOT NULL, -- worth an eval case
  passed BOOLEAN, -- the answer of production was good; NULL where it was not judged
  expected VARCHAR, -- expected answer, redacted
  category VARCHAR, -- the team's own grouping
  note VARCHAR, -- remark, redacted
  first_at TIMESTAMP NOT NULL, -- first label of this rater on this task, UTC
  "at" TIMESTAMP NOT NULL, -- this label, UTC
  via VARCHAR NOT NULL, -- how it came: review, labelstudio, jsonl, csv, parquet or suggestion
  PRIMARY KEY (task_id, rater)
);

-- Every label as it came, changes and withdrawals included: append-only. annotations is derived from it.
CREATE TABLE IF NOT EXISTS annotation_events (
  event_id BIGINT NOT NULL PRIMARY KEY, -- order of arrival, from 1
  task_id VARCHAR NOT NULL, -- task
  rater VARCHAR NOT NULL, -- who labelled
  withdrawn BOOLEAN NOT NULL, -- the rater took the label back
  keep BOOLEAN, -- worth an eval case; NULL where withdrawn
  passed BOOLEAN, -- the answer of production was good
  expected VARCHAR, -- expected answer, redacted
  category VARCHAR, -- the team's own grouping
  note VARCHAR, -- remark, redacted
  "at" TIMESTAMP NOT NULL, -- when it was labelled, UTC
  recorded_at TIMESTAMP NOT NULL, -- when it arrived, UTC
  via VARCHAR NOT NULL -- how it came
);

-- Labels suggested from what people said about similar queries of the same cluster, one row per task.
CREATE TABLE IF NOT EXISTS suggestions (
  task_id VARCHAR NOT NULL PRIMARY KEY, -- task in annotation_queue
  cluster_key VARCHAR NOT NULL, -- stable name of its cluster
  "by" VARCHAR NOT NULL, -- neighbours, or endpoint:MODEL
  "use" VARCHAR NOT NULL, -- shown to people, accepted as a label, audit (hidden, to measure agreement) or withdrawn (was shown or accepted, and is no more)
  keep BOOLEAN NOT NULL, -- worth an eval case
  passed BOOLEAN, -- the answer of production was good; NULL where nothing is said of it
  category VARCHAR, -- the team's own grouping
  expected VARCHAR, -- expected answer, redacted
  confidence DOUBLE, -- cross-validated chance that people say the same; NULL for an endpoint, whose replies were not cross-validated
  neighbours VARCHAR NOT NULL, -- labelled queries behind it, the nearest first: JSON list of {task_id, text, similarity}
  asked VARCHAR, -- digest of the prompt that an endpoint answered; NULL for neighbours
  created_at TIMESTAMP NOT NULL, -- when it was first made as it is, UTC
  human_keep BOOLEAN, -- what people decided; NULL before
  human_passed BOOLEAN, -- their judgement of production's answer
  human_category VARCHAR, -- their grouping, or the hint of the task where they gave none
  agreed BOOLEAN, -- they said what was suggested; NULL before they decided
  decided_at TIMESTAMP -- when they decided, UTC; NULL before
);

-- How often people agree with suggestions that they did not see, by cluster and suggester.
CREATE TABLE IF NOT EXISTS suggestion_agreement (
  cluster_key VARCHAR NOT NULL, -- stable name of the cluster; * for all of them
  "by" VARCHAR NOT NULL, -- neighbours, or endpoint:MODEL
  cluster_label VARCHAR, -- short description of the cluster
  labelled BIGINT NOT NULL, -- its queries that people decided
  suggested BIGINT NOT NULL, -- suggestions made, audits included
  audited BIGINT NOT NULL, -- hidden suggestions that people have decided on
  agreed BIGINT NOT NULL, -- of them, those they agreed with
  agreement DOUBLE, -- agreed / audited; NULL without audits
  agreement_low DOUBLE, -- lower end of Wilson's 95 % interval
  agreement_high DOUBLE, -- its upper end
  state VARCHAR, -- measuring, holds or fallen_back (people decide, every further suggestion is an audit); NULL for all of them
  reason VARCHAR NOT NULL, -- why, in words
  PRIMARY KEY (cluster_key, "by")
);
