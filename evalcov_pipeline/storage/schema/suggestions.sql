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
