"""Images of people with their joints."""
