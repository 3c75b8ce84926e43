-- Whole sessions of each week's sample: how long they are, what was called, how they went. Weights are per session and sum to 1 per as_of.
CREATE TABLE IF NOT EXISTS session_features (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  source VARCHAR NOT NULL, -- system that the session was recorded by
  session_id VARCHAR NOT NULL, -- session within its source
  session_hash VARCHAR NOT NULL, -- hash of its queries and tool calls in order, failed tools and outcome: sessions of equal content share it
  stratum VARCHAR NOT NULL, -- stratum that the session was drawn from
  traffic_weight DOUBLE NOT NULL, -- share of the sessions that happened
  steady_weight DOUBLE NOT NULL, -- share of steady sessions, spikes capped; the headline uses it
  started_at TIMESTAMP, -- start of the first turn, UTC
  duration_s DOUBLE, -- from the start of the first turn to the end of the last, in seconds
  n_turns BIGINT NOT NULL, -- user turns
  text_hashes VARCHAR[] NOT NULL, -- query of each turn in order, see texts; NULL where no text is left
  tools VARCHAR[] NOT NULL, -- tools called, in order; '?' where a call has no name
  tools_known BOOLEAN NOT NULL, -- whether tool calls were recorded; else tools is empty or a guess
  n_tool_calls BIGINT NOT NULL, -- tool calls
  n_tools BIGINT NOT NULL, -- distinct tools
  tool_repeats BIGINT NOT NULL, -- calls of the tool that was called just before
  tool_failures BIGINT, -- tool calls that failed; NULL where that was not recorded
  errors BIGINT NOT NULL, -- turns that ended in an error
  retries BIGINT NOT NULL, -- turns that send a text of the two turns before again
  rephrases BIGINT, -- turns that say the turn before in other words; NULL where texts were not compared
  failed_turns BIGINT NOT NULL, -- turns that failed by any evidence: error, failed tool, no answer, bad feedback, or sent or said again
  conversation_chars BIGINT NOT NULL, -- characters said up to and including the last query
  context_first DOUBLE, -- tokens of context at the first turn
  context_last DOUBLE, -- tokens of context at the last turn
  context_max DOUBLE, -- most tokens of context at any turn
  context_slope DOUBLE, -- least-squares growth of context in tokens per turn; NULL for one turn
  context_estimated BOOLEAN NOT NULL, -- context was not recorded: a quarter of the characters said
  latency_ms DOUBLE, -- response time of all turns together in milliseconds
  cost_usd DOUBLE, -- cost of all turns in US dollars
  outcome VARCHAR NOT NULL, -- success, abandoned, error or unknown
  outcome_evidence VARCHAR, -- what says so; NULL where unknown
  PRIMARY KEY (as_of, source, session_id)
);

-- The same features of every active eval case: a case is a session that somebody wrote down. Latency, cost and times are not known of cases.
CREATE TABLE IF NOT EXISTS case_features (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  case_id VARCHAR NOT NULL, -- eval case
  session_hash VARCHAR NOT NULL, -- hash of its content, as in session_features
  n_turns BIGINT NOT NULL, -- user messages
  text_hashes VARCHAR[] NOT NULL, -- user messages in order, see texts; NULL where no text is left
  tools VARCHAR[] NOT NULL, -- tools called, in order; '?' where a call has no name
  tools_known BOOLEAN NOT NULL, -- whether the case names all of its tool calls; else some are those of the most similar production turn
  n_tool_calls BIGINT NOT NULL, -- tool calls
  n_tools BIGINT NOT NULL, -- distinct tools
  tool_repeats BIGINT NOT NULL, -- calls of the tool that was called just before
  tool_failures BIGINT, -- tool calls that failed; NULL where the case does not say
  errors BIGINT NOT NULL, -- turns that ended in an error
  retries BIGINT NOT NULL, -- turns that send a text of the two turns before again
  rephrases BIGINT, -- turns that say the turn before in other words
  failed_turns BIGINT NOT NULL, -- turns that failed by any evidence
  conversation_chars BIGINT NOT NULL, -- characters said up to and including the last query
  context_first DOUBLE, -- tokens of context at the first turn, estimated
  context_last DOUBLE, -- tokens of context at the last turn, estimated
  context_max DOUBLE, -- most tokens of context at any turn, estimated
  context_slope DOUBLE, -- least-squares growth of context in tokens per turn; NULL for one turn
  context_estimated BOOLEAN NOT NULL, -- always true: cases record no context
  outcome VARCHAR NOT NULL, -- how the written conversation went: success, abandoned, error or unknown
  outcome_evidence VARCHAR, -- what says so; NULL where unknown
  PRIMARY KEY (as_of, case_id)
);

-- Frozen clusterings of whole sessions, one row per fit; as taxonomies.
CREATE TABLE IF NOT EXISTS session_taxonomies (
  taxonomy_id VARCHAR NOT NULL PRIMARY KEY, -- sorts by fitted_at; derived from the fit's inputs
  fitted_at TIMESTAMP NOT NULL, -- as_of of the training window, UTC
  created_at TIMESTAMP NOT NULL, -- wall clock of the fit, UTC
  method VARCHAR NOT NULL, -- umap_hdbscan or kmeans
  parameters VARCHAR NOT NULL, -- settings of the fit and what its search chose, JSON
  n_texts BIGINT NOT NULL, -- distinct sessions that the fit looked at
  n_clusters BIGINT NOT NULL, -- named clusters, novel not counted
  unclustered_share DOUBLE NOT NULL, -- share of sessions that discovery left unclustered, before assignment
  novel_share DOUBLE NOT NULL, -- share of the training sessions outside every radius
  stability DOUBLE, -- agreement between repeated fits (adjusted Rand index, 1 = identical)
  embedding_fingerprint VARCHAR NOT NULL, -- embedding model of the query vectors
  previous_taxonomy_id VARCHAR, -- taxonomy that this one was matched to; NULL for the first
  with_outcome BOOLEAN NOT NULL, -- whether outcomes enter the comparison: enough sessions and cases must know theirs
  note VARCHAR -- what the comparison leaves out, and why; NULL where nothing
);

-- Clusters of sessions of each session taxonomy, described in words.
CREATE TABLE IF NOT EXISTS session_clusters (
  taxonomy_id VARCHAR NOT NULL, -- session taxonomy
  cluster_id INTEGER NOT NULL, -- cluster within this taxonomy; -1 (novel) has no row here
  cluster_key VARCHAR NOT NULL, -- name that stays the same across refits while the cluster stays the same
  label VARCHAR NOT NULL, -- description in words
  keywords VARCHAR[] NOT NULL, -- most characteristic words of its first queries
  exemplars VARCHAR[] NOT NULL, -- typical sessions: their redacted queries in order, one session per entry
  size BIGINT NOT NULL, -- distinct training sessions
  radius DOUBLE NOT NULL, -- least similarity at which a session still belongs
  PRIMARY KEY (taxonomy_id, cluster_id)
);

-- How the clusters of a session taxonomy continue those of its predecessor.
CREATE TABLE IF NOT EXISTS session_taxonomy_lineage (
  from_taxonomy VARCHAR NOT NULL, -- predecessor
  to_taxonomy VARCHAR NOT NULL, -- successor
  from_cluster INTEGER, -- cluster_id in the predecessor; NULL for a birth
  to_cluster INTEGER, -- cluster_id in the successor; NULL for a death
  relation VARCHAR NOT NULL, -- same, split, merge, birth or death
  overlap DOUBLE -- share of sessions in common (Jaccard, by weight)
);

-- Cluster of every session content under every session taxonomy that scored it, production and eval alike by one rule.
CREATE TABLE IF NOT EXISTS session_assignments (
  taxonomy_id VARCHAR NOT NULL, -- session taxonomy
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  session_hash VARCHAR NOT NULL, -- content of a session or a case
  cluster_id INTEGER NOT NULL, -- cluster; -1 = novel, outside every radius
  similarity DOUBLE NOT NULL, -- similarity to the nearest cluster, rounded to 1e-6
  PRIMARY KEY (taxonomy_id, as_of, session_hash)
);

-- The score of whole sessions: how far the suite's conversations lie from production's, one row per week and session taxonomy. As coverage_scores.
CREATE TABLE IF NOT EXISTS session_scores (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  taxonomy_id VARCHAR NOT NULL, -- session taxonomy that the score was computed under
  headline BOOLEAN NOT NULL, -- true for one row per as_of; a refit week has a second row under the previous taxonomy
  window_start TIMESTAMP NOT NULL, -- start of the traffic window
  window_end TIMESTAMP NOT NULL, -- end of the traffic window, exclusive
  n_sessions BIGINT NOT NULL, -- sessions in the sample
  n_production BIGINT NOT NULL, -- the same: a session is one unit here
  n_eff DOUBLE, -- Kish effective sample size
  n_eval BIGINT NOT NULL, -- cases active at as_of
  n_multi_turn BIGINT NOT NULL, -- of them, cases of more than one turn
  n_clusters BIGINT NOT NULL, -- named clusters of the session taxonomy
  jsd DOUBLE, -- Jensen-Shannon divergence of production and suite, plug-in: inflated for small suites
  jsd_adjusted DOUBLE, -- corrected for the suite's size: the headline
  jsd_ci_low DOUBLE, -- lower end of its 95 % interval
  jsd_ci_high DOUBLE, -- upper end of its 95 % interval
  null_mean DOUBLE, -- mean plug-in divergence of suites drawn perfectly from production
  null_p95 DOUBLE, -- 95th percentile of the same
  p_value DOUBLE, -- chance that a suite drawn from production diverges at least this much
  attainable_jsd DOUBLE, -- least plug-in divergence that any suite of this size can reach
  covered_share DOUBLE, -- steady sessions in named clusters that the suite tests
  unmeasured_share DOUBLE, -- steady sessions without eligible eval results
  novel_share DOUBLE, -- steady sessions outside every cluster
  band VARCHAR, -- good, watch, divergent, severe or undecidable
  degraded BOOLEAN NOT NULL, -- significantly divergent beyond the threshold, or a liability cluster
  liabilities VARCHAR[] NOT NULL, -- cluster keys with many sessions and no case
  cases_to_settle BIGINT, -- where undecidable: size of suite that would settle it
  verdict VARCHAR NOT NULL, -- the result in one sentence
  eval_run_id VARCHAR, -- newest complete run at as_of
  judge_id VARCHAR, -- its judge
  judge_note VARCHAR, -- which of its verdicts are refused and left out; NULL where none is
  refused_results BIGINT, -- first tries left out, because the verdicts of their judge are refused and no person has judged them
  eval_score DOUBLE, -- unweighted pass rate of that run, first tries that are not left out
  reweighted_score DOUBLE, -- pass rate over the measured share, weighted like production's sessions
  reweighted_low DOUBLE, -- lower bound for all sessions, unmeasured ones counted as failing
  reweighted_high DOUBLE, -- upper bound for all sessions, unmeasured ones counted as passing
  diagnosis VARCHAR, -- what moved, as in coverage_scores
  diagnosis_reason VARCHAR, -- the tests behind the diagnosis, or what is missing for one
  notes VARCHAR[] NOT NULL, -- what the comparison leaves out, such as outcomes that nobody recorded
  PRIMARY KEY (as_of, taxonomy_id)
);

-- Coverage of each session cluster in each scored week; -1 is novel. As cluster_coverage.
CREATE TABLE IF NOT EXISTS session_coverage (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  taxonomy_id VARCHAR NOT NULL, -- session taxonomy
  cluster_id INTEGER NOT NULL, -- cluster within the taxonomy; -1 = novel
  cluster_key VARCHAR NOT NULL, -- stable name across taxonomies
  label VARCHAR NOT NULL, -- description in words
  production_share DOUBLE NOT NULL, -- share of steady sessions
  production_share_low DOUBLE, -- lower end of its 95 % interval
  production_share_high DOUBLE, -- upper end of its 95 % interval
  traffic_share DOUBLE NOT NULL, -- share of what happened, spikes included
  eval_cases BIGINT NOT NULL, -- active cases
  eval_share DOUBLE, -- share of the suite; NULL for an empty suite
  coverage_ratio DOUBLE, -- eval_share / production_share; NULL where production_share is 0
  jsd_contribution DOUBLE, -- part of jsd; the parts of a week sum to it
  status VARCHAR NOT NULL, -- liability, gap, thin, covered, over_represented, undecidable or novel
  newest_case_at TIMESTAMP, -- newest active case
  stale BOOLEAN NOT NULL, -- newest case is old while the cluster grows
  pass_rate DOUBLE, -- pass rate of its cases in the scored run
  n_results BIGINT NOT NULL, -- its cases with eligible results in that run
  success_rate DOUBLE, -- share of its sessions that succeeded, of those whose outcome is known; NULL where none is
  abandoned_rate DOUBLE, -- likewise, given up
  mean_turns DOUBLE, -- mean user turns of its sessions
  PRIMARY KEY (as_of, taxonomy_id, cluster_id)
);

-- Plain traits of sessions one by one, such as their length or a failed tool: whether any case has them. Traits overlap; combinations are what session_coverage shows.
CREATE TABLE IF NOT EXISTS session_traits (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  figure VARCHAR NOT NULL, -- what is looked at: turns, context, tools, failures, repetitions or outcome
  trait VARCHAR NOT NULL, -- the trait in words
  production_share DOUBLE NOT NULL, -- share of steady sessions that have it
  production_share_low DOUBLE, -- lower end of its 95 % interval
  production_share_high DOUBLE, -- upper end of its 95 % interval
  eval_cases BIGINT NOT NULL, -- active cases that have it
  eval_share DOUBLE, -- share of the cases; NULL for an empty suite
  status VARCHAR NOT NULL, -- gap, thin, covered, over_represented or undecidable
  PRIMARY KEY (as_of, figure, trait)
);

-- Divergence of sequences: which steps follow which, in production and in the suite. One row per week and kind of sequence.
CREATE TABLE IF NOT EXISTS sequence_scores (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  kind VARCHAR NOT NULL, -- queries (clusters of the turns) or tools (calls)
  taxonomy_id VARCHAR, -- taxonomy of the query clusters; NULL for tools
  length BIGINT NOT NULL, -- steps of an n-gram, start and end counted as steps: 2 = transitions
  n_sessions BIGINT NOT NULL, -- sessions compared
  n_eval BIGINT NOT NULL, -- cases compared
  n_ngrams BIGINT NOT NULL, -- n-grams that are told apart; rarer ones are pooled
  jsd DOUBLE, -- Jensen-Shannon divergence of the n-grams, plug-in
  jsd_adjusted DOUBLE, -- corrected for the suite's size
  jsd_ci_low DOUBLE, -- lower end of its 95 % interval
  jsd_ci_high DOUBLE, -- upper end of its 95 % interval
  null_mean DOUBLE, -- mean plug-in divergence of suites of whole sessions drawn from production
  null_p95 DOUBLE, -- 95th percentile of the same
  p_value DOUBLE, -- chance that such a suite diverges at least this much
  order_jsd DOUBLE, -- part of jsd that is order: jsd less the mean after permuting the turns within each session, on both sides
  order_adjusted DOUBLE, -- the same less what chance adds
  order_p_value DOUBLE, -- chance that a suite of whole sessions differs at least this much in order
  untested_share DOUBLE, -- share of sessions that walk at least one n-gram which surely no case walks (status gap)
  note VARCHAR, -- why the numbers are NULL, or what they rest on
  PRIMARY KEY (as_of, kind)
);

-- Paths through a session, and whether a case walks them. Shares are of sessions and cases that walk the path at least once.
CREATE TABLE IF NOT EXISTS sequence_coverage (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  kind VARCHAR NOT NULL, -- queries or tools
  ngram VARCHAR NOT NULL, -- steps joined by ' > ': cluster keys or tool names; ^ is the start of the session, $ its end
  length BIGINT NOT NULL, -- number of steps, start and end included
  label VARCHAR NOT NULL, -- the same in words
  production_share DOUBLE NOT NULL, -- share of steady sessions that walk it
  production_share_low DOUBLE, -- lower end of its 95 % interval
  production_share_high DOUBLE, -- upper end of its 95 % interval
  eval_cases BIGINT NOT NULL, -- active cases that walk it
  eval_share DOUBLE, -- share of the cases; NULL for an empty suite
  jsd_contribution DOUBLE, -- part of sequence_scores.jsd; NULL for paths of another length than the score's
  status VARCHAR NOT NULL, -- gap, thin, covered, over_represented or undecidable
  minimal BOOLEAN NOT NULL, -- untested while every part of it is tested: the shortest name of a gap
  PRIMARY KEY (as_of, kind, ngram)
);

-- Do steps fail independently? Success of the turns, what it would mean for whole sessions (rate to the power of the length), and what was seen.
CREATE TABLE IF NOT EXISTS session_compounding (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  grouping VARCHAR NOT NULL, -- all, cluster or length
  name VARCHAR NOT NULL, -- 'all', the cluster's key, or the range of turns
  label VARCHAR NOT NULL, -- the same in words
  n_sessions BIGINT NOT NULL, -- sessions of the sample
  n_turns BIGINT NOT NULL, -- their turns
  mean_turns DOUBLE NOT NULL, -- steady mean of turns per session
  step_success DOUBLE NOT NULL, -- share of turns that did not fail
  step_success_low DOUBLE, -- lower end of its 95 % interval
  step_success_high DOUBLE, -- upper end of its 95 % interval
  predicted DOUBLE NOT NULL, -- sessions without a failed turn if turns failed independently: mean of step_success ^ turns
  predicted_low DOUBLE, -- lower end of its 95 % interval
  predicted_high DOUBLE, -- upper end of its 95 % interval
  flawless DOUBLE NOT NULL, -- sessions without a failed turn that were seen
  flawless_low DOUBLE, -- lower end of its 95 % interval
  flawless_high DOUBLE, -- upper end of its 95 % interval
  observed DOUBLE, -- sessions that succeeded, of those whose outcome is known; NULL where none is
  observed_low DOUBLE, -- lower end of its 95 % interval
  observed_high DOUBLE, -- upper end of its 95 % interval
  n_known BIGINT NOT NULL, -- sessions whose outcome is known
  verdict VARCHAR NOT NULL, -- independent, clustered (failures come together: more flawless sessions than predicted), spread (fewer) or undecidable
  PRIMARY KEY (as_of, grouping, name)
);
