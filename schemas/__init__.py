"""The grammar of a pipeline: YAML with places, typed references, checks before the start, plans."""
