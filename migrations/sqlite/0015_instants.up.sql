-- The order of instants is a collation of the host; nothing to do here.
SELECT 1;
