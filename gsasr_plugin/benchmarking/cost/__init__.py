"""The paper's cost protocol: time and memory of networks on images of one size, at several scales.

`enlargers` are what is measured, `measure` measures them, `report` writes tables and a chart.
"""
