"""Live sound, watched for hours: messages about events and gaps, clips, alerts."""
