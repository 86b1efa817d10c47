"""Networks that estimate poses, one family a file."""
