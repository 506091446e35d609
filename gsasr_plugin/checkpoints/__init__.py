"""Networks that are stored: reading, describing and converting them, and those that come with this package."""

SUFFIXES = ('.safetensors', '.pth')  # of files that describe themselves
# Where a training file has its weights, in the order of preference: the average, if one was kept.
PARAMETER_KEYS = ('params_ema', 'params')
