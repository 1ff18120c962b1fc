"""Are two images the same? Config and file tree compared, layers streamed, never extracted. Pure."""
