-- Versions of this home, one row per version that it was brought to. The newest holds for all of it: tables, lake, vectors and taxonomies.
CREATE TABLE IF NOT EXISTS warehouse_schema (
  version INTEGER NOT NULL PRIMARY KEY, -- version of the home
  "at" TIMESTAMP NOT NULL, -- when it was brought to that version, UTC
  written_by VARCHAR NOT NULL -- release of evalcov-pipeline that did it
);
