"""pixelpipe: a pixel in, a typed row in BigQuery out."""

__version__ = "0.1.0"
