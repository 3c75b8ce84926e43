-- Requests for new eval cases: why, how many, for which clusters, and what came of them.
CREATE TABLE IF NOT EXISTS refresh_plans (
  plan_id VARCHAR NOT NULL PRIMARY KEY, -- sorts by creation
  as_of TIMESTAMP NOT NULL, -- score that the plan answers
  taxonomy_id VARCHAR NOT NULL, -- taxonomy of the target clusters
  trigger VARCHAR NOT NULL, -- coverage_degraded, schedule or manual
  reason VARCHAR NOT NULL, -- the score's verdict
  budget BIGINT NOT NULL, -- cases asked for
  target DOUBLE, -- jsd_adjusted that the budget was chosen for; NULL where cases were asked for
  n_candidates BIGINT, -- drawn for labelling: queries and whole sessions
  n_sessions BIGINT, -- of them, whole sessions
  n_kept BIGINT, -- of them, kept by people; NULL while some wait for a label
  keep_rate DOUBLE, -- share of candidates that the projection expects people to keep
  targets VARCHAR NOT NULL, -- where the cases go, the most cases first: JSON list of {unit (query or session), cluster_id, cluster_key, label, status, production_share, cases}
  curve VARCHAR, -- projected jsd_adjusted by number of cases: JSON list of {cases, jsd_adjusted}
  note VARCHAR, -- how many are whole sessions, and why the plan is not what was asked for; NULL where there is nothing to say
  jsd_before DOUBLE, -- jsd_adjusted before the plan
  jsd_projected DOUBLE, -- jsd_adjusted expected once the cases are in
  jsd_after DOUBLE, -- jsd_adjusted of the first score that counts every kept case; NULL before it
  session_jsd_before DOUBLE, -- session_scores.jsd_adjusted before the plan; NULL where the week has none
  session_jsd_projected DOUBLE, -- the same expected once the cases are in
  session_jsd_after DOUBLE, -- the same of the first score that counts every kept case
  after_as_of TIMESTAMP, -- week of the scores after
  created_at TIMESTAMP NOT NULL -- wall clock, UTC
);

-- Production queries and whole sessions that a plan drew for labelling. A session is there under the last of its queries.
CREATE TABLE IF NOT EXISTS refresh_candidates (
  plan_id VARCHAR NOT NULL, -- plan
  text_hash VARCHAR NOT NULL, -- query, see texts
  task_id VARCHAR NOT NULL, -- its task in annotation_queue
  unit VARCHAR, -- query, or session: the whole session up to this query becomes a case; NULL in plans that knew queries only
  session_cluster_key VARCHAR, -- session cluster that it was drawn for, see session_coverage; NULL for a query
  rank BIGINT NOT NULL, -- order of the draw, from 1
  cluster_id INTEGER NOT NULL, -- cluster under the plan's taxonomy; -1 = novel
  cluster_key VARCHAR NOT NULL, -- stable name of the cluster
  pool VARCHAR NOT NULL, -- what it was drawn for: cluster, drift_watch, edge, novel or random
  inclusion_probability DOUBLE, -- chance of the draw from the sampled queries or sessions; NULL for purposive picks
  reason VARCHAR NOT NULL, -- why it was picked, in words
  gap_score DOUBLE, -- text_coverage.gap_score at the plan's as_of
  steady_weight DOUBLE NOT NULL, -- share of steady traffic with this query; of steady sessions with this content for a session
  source VARCHAR NOT NULL, -- system of the turn that stands for it
  session_id VARCHAR NOT NULL, -- session of that turn
  trace_id VARCHAR NOT NULL, -- trace of that turn
  turn_index BIGINT NOT NULL, -- place of that turn in its session
  status VARCHAR NOT NULL, -- status of its task
  PRIMARY KEY (plan_id, text_hash)
);
