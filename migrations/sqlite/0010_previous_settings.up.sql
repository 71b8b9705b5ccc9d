-- What was set when the version before was the present one: what it goes back to, where it cannot
-- take what is set now.
ALTER TABLE installations ADD COLUMN previous_settings text;
