"""What the parts share: settings, models, tables, verdicts and the report."""
