DROP FUNCTION purlin_instant(text);
