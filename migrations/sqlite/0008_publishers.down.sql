DROP TABLE plugin_publishers;
