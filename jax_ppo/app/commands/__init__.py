"""The commands of the two programs, a file each: options, then what they do."""
