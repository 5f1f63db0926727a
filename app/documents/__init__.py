"""What lies beside a version's weights: made of the database alone, the same bytes each time."""
