-- Signs that something went wrong in production, one row per turn and signal: of all turns of the week, not of the sample.
CREATE TABLE IF NOT EXISTS failure_signals (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the week in which the turn began, UTC
  source VARCHAR NOT NULL, -- system that the trace came from
  trace_id VARCHAR NOT NULL, -- trace of the turn within its source
  turn_index BIGINT NOT NULL, -- position of the turn in its session, from 0
  signal VARCHAR NOT NULL, -- kind of sign, such as thumbs_down, rephrase or an own one
  session_id VARCHAR NOT NULL, -- session of the turn
  started_at TIMESTAMP NOT NULL, -- when the turn began, UTC
  strength DOUBLE NOT NULL, -- how strong the sign is by itself, above 0 and at most 1
  evidence VARCHAR NOT NULL, -- what was seen, in words, redacted
  threshold DOUBLE, -- cut that was estimated for the source, in the signal's own unit; NULL where the signal has none
  text_hash VARCHAR, -- redacted query of the turn, see texts; NULL where no text is left, or the week had more than were read
  PRIMARY KEY (source, trace_id, turn_index, signal)
);

-- Cuts of failure signals, estimated per source and week from the source's own traffic.
CREATE TABLE IF NOT EXISTS signal_thresholds (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the week, UTC
  source VARCHAR NOT NULL, -- system
  signal VARCHAR NOT NULL, -- signal
  threshold DOUBLE, -- the cut, in the signal's own unit; NULL where it cannot be estimated, so that the signal is silent
  n BIGINT NOT NULL, -- observations it was estimated from
  reason VARCHAR NOT NULL, -- how it was estimated, or why it was not
  PRIMARY KEY (as_of, source, signal)
);

-- Weekly batches of turns that people are asked about because something seems to have gone wrong.
CREATE TABLE IF NOT EXISTS failure_batches (
  batch_id VARCHAR NOT NULL PRIMARY KEY, -- sorts by week; a week without a signal has none
  as_of TIMESTAMP NOT NULL, -- exclusive end of the week, UTC
  size BIGINT NOT NULL, -- turns asked about
  n_turns BIGINT NOT NULL, -- turns of the week
  n_signalled BIGINT NOT NULL, -- turns with a signal
  n_near_duplicates BIGINT NOT NULL, -- turns outside the draw, since a case or a task asks nearly the same
  exploration_share DOUBLE NOT NULL, -- share of the batch for signals that few labels are known of
  random_share DOUBLE NOT NULL, -- share of the batch drawn evenly from all turns of the week
  signals VARCHAR NOT NULL, -- what each signal counted for: JSON list of {signal, precision, labelled, weight (its precision drawn toward that of all), unknown (0..1, what exploration goes by)}
  note VARCHAR, -- what could not be honoured; NULL where there is nothing to say
  created_at TIMESTAMP NOT NULL -- wall clock, UTC
);

-- Turns of the batches. A turn that people call bad becomes a regression case once they say what would have been right.
CREATE TABLE IF NOT EXISTS failure_picks (
  batch_id VARCHAR NOT NULL, -- batch
  task_id VARCHAR NOT NULL, -- its task in annotation_queue
  source VARCHAR NOT NULL, -- system of the turn
  trace_id VARCHAR NOT NULL, -- its trace
  turn_index BIGINT NOT NULL, -- its place in its session
  text_hash VARCHAR NOT NULL, -- its query, see texts
  signals VARCHAR[] NOT NULL, -- signals that it bears; empty for turns without one
  inclusion_probability DOUBLE NOT NULL, -- chance that the turn was drawn from the week's turns
  PRIMARY KEY (batch_id, task_id)
);

-- How often a turn with a signal really is a failure, by people's labels up to a week.
CREATE TABLE IF NOT EXISTS signal_precision (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the week, UTC
  signal VARCHAR NOT NULL, -- signal; 'none' for turns without one, 'any' for turns with at least one
  n_signals BIGINT NOT NULL, -- turns with it in the week
  n_labelled BIGINT NOT NULL, -- labelled turns with it, of all weeks so far
  n_bad BIGINT NOT NULL, -- of them, those that people call bad
  precision DOUBLE, -- share of bad turns among those with the signal, weighted by 1 / inclusion_probability; NULL without labels
  precision_low DOUBLE, -- lower end of Wilson's 95 % interval at the effective number of labels
  precision_high DOUBLE, -- its upper end
  PRIMARY KEY (as_of, signal)
);

-- Kinds of failure: how often production shows each, and what the suite has against it. Unrepresented ones first, by rank.
CREATE TABLE IF NOT EXISTS failure_audit (
  quarter VARCHAR NOT NULL, -- calendar quarter, such as 2026-Q4
  category VARCHAR NOT NULL, -- kind of failure, as people and incidents name it
  rank BIGINT NOT NULL, -- order of urgency, from 1
  observed BIGINT NOT NULL, -- turns of the quarter that show it: labelled, of an incident, or assigned
  labelled BIGINT NOT NULL, -- of them, those that people called bad
  assigned BIGINT NOT NULL, -- of them, turns with a signal that take the category of their nearest labelled neighbours
  incidents BIGINT NOT NULL, -- incidents of the quarter
  rate DOUBLE, -- estimated share of the quarter's turns that fail this way, from labels with known probabilities; NULL without any
  rate_low DOUBLE, -- lower end of its 95 % interval
  rate_high DOUBLE, -- its upper end
  eval_cases BIGINT NOT NULL, -- active cases of the category
  regression_cases BIGINT NOT NULL, -- of them, regression cases
  newest_case_at TIMESTAMP, -- newest of them; NULL where there is none
  last_failed_at TIMESTAMP, -- when one of them last failed a first try of the product; NULL where none has
  status VARCHAR NOT NULL, -- unrepresented (no case), thin, never_failed (its cases have never failed) or represented
  reason VARCHAR NOT NULL, -- the status in words
  as_of TIMESTAMP NOT NULL, -- until when the quarter was seen, exclusive, UTC
  PRIMARY KEY (quarter, category)
);
