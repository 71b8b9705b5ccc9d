DROP TABLE record_references;
