"""What a candidate is, and how far two are apart."""
