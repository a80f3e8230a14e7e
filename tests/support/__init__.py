"""What tests build on: archives made by hand and plain twins of compiled code."""
