"""Making images from GT images: the paper's benchmarks, sub-images for training, crops to measure costs with.

A job (`jobs`) makes the PNG files of one GT image; `runner` runs many, in parallel and resumably; `lmdb_folder` packs
the files into the host's LMDBs.
"""
