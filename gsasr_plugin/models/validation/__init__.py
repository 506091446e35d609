"""Validation and testing: from images to metrics, tables and pictures. Nothing here knows the model.

`scale_validation` goes through a data set; `metric_values` computes the metrics of an image, `validation_grids` draws
some; `image_values` keeps what a killed test has computed; `tables` makes means and files of it, beside the paper's
figures (`paper_tables`).
"""
