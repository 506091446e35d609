"""LIIF, the rival that GSASR is compared with: network, training, and tables of quality and cost.

Y. Chen, S. Liu and X. Wang, "Learning Continuous Image Representation with Local Implicit Image Function", CVPR 2021;
written anew from the paper. Not part of the package.
"""

import gsasr_plugin  # noqa: F401 (BasicSR can be imported after it only)
