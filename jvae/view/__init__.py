"""Pictures, pages and reports of trained models."""
