"""Upscaling of whole pictures with a network: on which device, in which precision, to which size."""
