"""Networks that find the joints of people, one family a file."""
