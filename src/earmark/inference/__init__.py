"""Tags, timelines, events, streams and evidence from any engine that encodes and classifies."""
