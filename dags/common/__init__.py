"""What the DAG file wires together; `linkage/` holds the method itself."""
