-- Here an event stands where its row does, also in a copy of the file.
SELECT 1;
