"""What the parts share: settings, models, tables, judgements and the report."""
