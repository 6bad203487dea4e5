"""Live sound watched for hours: events as messages, gaps, clips and alerts."""
