-- Turns of the sessions drawn for each scored week: a stratified sample of the 30 days before as_of. Weights are per turn and sum to 1 per as_of.
CREATE TABLE IF NOT EXISTS trace_sample (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  source VARCHAR NOT NULL, -- system that the trace came from
  trace_id VARCHAR NOT NULL, -- trace of this turn within its source
  turn_index BIGINT NOT NULL, -- position of the turn in its session, from 0
  session_id VARCHAR NOT NULL, -- session (conversation) of the turn; the sampling unit
  started_at TIMESTAMP NOT NULL, -- when the turn began, UTC
  stratum VARCHAR NOT NULL, -- calendar day x daypart x segments of the session's first turn
  inclusion_probability DOUBLE NOT NULL, -- chance that the session was drawn, n_h / N_h
  traffic_weight DOUBLE NOT NULL, -- share of what happened (Horvitz-Thompson)
  steady_weight DOUBLE NOT NULL, -- share of steady traffic: spikes capped, post-stratified; the headline uses it
  text_hash VARCHAR, -- redacted text of the turn, see texts; NULL where no text is left
  latency_ms DOUBLE, -- response time of the turn in milliseconds
  cost_usd DOUBLE, -- cost of the turn in US dollars
  PRIMARY KEY (as_of, source, trace_id, turn_index)
);

-- Daily volumes of each window and which days were spikes, so that a capped day can be seen.
CREATE TABLE IF NOT EXISTS sample_days (
  as_of TIMESTAMP NOT NULL, -- exclusive end of the scored week, UTC
  day DATE NOT NULL, -- calendar day in the configured time zone
  sessions BIGINT NOT NULL, -- sessions that began on the day
  cap DOUBLE, -- most sessions that count as steady; NULL where too few days are known to say
  steady_sessions DOUBLE NOT NULL, -- min(sessions, cap)
  spike BOOLEAN NOT NULL, -- the day was above its cap
  PRIMARY KEY (as_of, day)
);

-- Distinct texts of sampled turns and eval cases, redacted; text_hash is the hash of the redacted, normalised text.
CREATE TABLE IF NOT EXISTS texts (
  text_hash VARCHAR NOT NULL PRIMARY KEY, -- hash of the redacted, normalised text
  text VARCHAR NOT NULL, -- the redacted text
  first_seen_at TIMESTAMP -- earliest sampled turn with this text; NULL for texts of eval cases only
);
