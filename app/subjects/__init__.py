"""What a subject sees and does."""
