"""Measurements of the whole product, through its command line. The short ones run as tests, too."""
