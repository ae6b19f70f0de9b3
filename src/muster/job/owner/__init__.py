"""What a node's owner lets others use: hours, bytes and joules of a day."""
