ALTER TABLE installations DROP COLUMN previous_settings;
