"""What people take home: bundles, reports, tables."""
