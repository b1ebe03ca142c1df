"""Our own pages inside Airflow's UI. A plugin registers them, see `plugins/`."""
