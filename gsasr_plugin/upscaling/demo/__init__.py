"""A page in the browser that shows what a network does (the optional extra `demo`)."""
