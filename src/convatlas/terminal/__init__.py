"""What people see while work goes on, whether a command or a function does it."""
