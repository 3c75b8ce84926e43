"""What assets and automation share: partitions, resources, specs, events, the step log."""
