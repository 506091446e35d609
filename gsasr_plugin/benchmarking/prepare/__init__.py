"""Making images from GT images: the paper's benchmarks, sub-images for training, crops to measure costs with.

`sets` makes whole sets of a job (`jobs`) for each GT image; `runner` runs them, in parallel and resumably;
`lmdb_folder` packs the files into databases of BasicSR.
"""
