-- Frozen clusterings of production traffic, one row per fit. Scores of a week use the newest one fitted at or before it.
CREATE TABLE IF NOT EXISTS taxonomies (
  taxonomy_id VARCHAR NOT NULL PRIMARY KEY, -- sorts by fitted_at; derived from the fit's inputs, so an identical fit has an identical id
  fitted_at TIMESTAMP NOT NULL, -- as_of of the training window, UTC
  created_at TIMESTAMP NOT NULL, -- wall clock of the fit, UTC
  method VARCHAR NOT NULL, -- umap_hdbscan or kmeans
  parameters VARCHAR NOT NULL, -- settings of the fit and what its search chose, JSON
  n_texts BIGINT NOT NULL, -- distinct texts that the fit looked at
  n_clusters BIGINT NOT NULL, -- named clusters, novel not counted
  unclustered_share DOUBLE NOT NULL, -- share of traffic that discovery left unclustered, before assignment
  novel_share DOUBLE NOT NULL, -- share of the training traffic outside every radius, by the frozen rule
  stability DOUBLE, -- agreement between repeated fits (adjusted Rand index, 1 = identical)
  embedding_fingerprint VARCHAR NOT NULL, -- embedding model that the vectors came from
  previous_taxonomy_id VARCHAR -- taxonomy that this one was matched to; NULL for the first
);

-- Clusters of each taxonomy, with what they are about.
CREATE TABLE IF NOT EXISTS clusters (
  taxonomy_id VARCHAR NOT NULL, -- taxonomy
  cluster_id INTEGER NOT NULL, -- cluster within this taxonomy; -1 (novel) has no row here
  cluster_key VARCHAR NOT NULL, -- name that stays the same across refits while the cluster stays the same
  label VARCHAR NOT NULL, -- short description
  keywords VARCHAR[] NOT NULL, -- most characteristic words (class-based TF-IDF)
  exemplars VARCHAR[] NOT NULL, -- redacted texts nearest to the cluster's medoid
  size BIGINT NOT NULL, -- distinct training texts
  radius DOUBLE NOT NULL, -- least cosine similarity at which a text still belongs
  PRIMARY KEY (taxonomy_id, cluster_id)
);

-- How the clusters of a taxonomy continue those of its predecessor.
CREATE TABLE IF NOT EXISTS taxonomy_lineage (
  from_taxonomy VARCHAR NOT NULL, -- predecessor
  to_taxonomy VARCHAR NOT NULL, -- successor
  from_cluster INTEGER, -- cluster_id in the predecessor; NULL for a birth
  to_cluster INTEGER, -- cluster_id in the successor; NULL for a death
  relation VARCHAR NOT NULL, -- same, split, merge, birth or death
  overlap DOUBLE -- share of texts in common (Jaccard, by weight)
);

-- Cluster of every text under every taxonomy that scored it, production and eval alike by one rule.
CREATE TABLE IF NOT EXISTS cluster_assignments (
  taxonomy_id VARCHAR NOT NULL, -- taxonomy
  text_hash VARCHAR NOT NULL, -- text
  cluster_id INTEGER NOT NULL, -- cluster; -1 = novel, outside every radius
  similarity DOUBLE NOT NULL, -- similarity to the nearest cluster, rounded to 1e-6
  PRIMARY KEY (taxonomy_id, text_hash)
);
