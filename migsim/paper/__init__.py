"""A paper that is rebuilt by one command: results, facts, figures, PDF."""
