"""Tag rules, worded as docker/metadata-action words them: what a commit's image is called. Pure."""
