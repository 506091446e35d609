"""The paper's protocol: data sets prepared for it, and what a network costs."""
