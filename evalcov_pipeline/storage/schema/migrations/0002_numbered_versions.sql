-- The version of a home becomes a number
DROP TABLE warehouse_schema;

CREATE TABLE warehouse_schema (
  version INTEGER NOT NULL PRIMARY KEY,
  "at" TIMESTAMP NOT NULL,
  written_by VARCHAR NOT NULL
);
