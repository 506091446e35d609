"""Networks that are stored: reading, describing and converting them, and those that come with this package."""
