"""What assets and automation share: partitions, resources, specs of tables, the step log."""
