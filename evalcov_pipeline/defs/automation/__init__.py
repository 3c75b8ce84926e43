"""What runs assets: jobs, schedules, sensors, alerts, freshness, the inbox."""
