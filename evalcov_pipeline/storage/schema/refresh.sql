-- Requests for new eval cases: why, how many, for which clusters.
CREATE TABLE IF NOT EXISTS refresh_plans (
  plan_id VARCHAR NOT NULL PRIMARY KEY, -- sorts by creation
  as_of TIMESTAMP NOT NULL, -- score that the plan answers
  taxonomy_id VARCHAR NOT NULL, -- taxonomy of the target clusters
  trigger VARCHAR NOT NULL, -- coverage_degraded, schedule or manual
  reason VARCHAR NOT NULL, -- the score's verdict
  budget BIGINT NOT NULL, -- cases asked for
  targets VARCHAR NOT NULL, -- clusters to cover, worst first: JSON list of {cluster_id, cluster_key, status, cases}
  jsd_before DOUBLE, -- jsd_adjusted before the plan
  jsd_projected DOUBLE, -- jsd_adjusted expected once the cases are in
  jsd_after DOUBLE, -- jsd_adjusted once they were
  created_at TIMESTAMP NOT NULL -- wall clock, UTC
);
