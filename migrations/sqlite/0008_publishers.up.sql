-- Whose key signs what is uploaded of a plugin, which need not be there yet.
CREATE TABLE plugin_publishers (
    plugin text PRIMARY KEY,
    public_key text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    updated_by blob
) STRICT;
