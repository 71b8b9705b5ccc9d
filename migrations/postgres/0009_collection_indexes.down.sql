ALTER TABLE installations DROP COLUMN indexed;
DROP TABLE record_marks;
