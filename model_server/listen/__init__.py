"""Commands: from speech on a stream to what was said."""
