"""What a release is made of: configuration, plan, records, the merge that joins them. Pure."""
