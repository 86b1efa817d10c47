"""Pictures of people with their joints."""
