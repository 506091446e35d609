"""All that stands between the command `basicsr` and BasicSR: options checked, repairs, plugins, its pipelines."""
