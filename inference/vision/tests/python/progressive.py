"""Writes the JPEG that takes most memory to decode: progressive, no colour subsampled. usage: progressive.py OUT"""

import sys

import numpy as np
from PIL import Image

pixels = np.random.default_rng(1).integers(0, 255, (1000, 1200, 3), np.uint8)
Image.fromarray(pixels).save(sys.argv[1], "JPEG", progressive=True, subsampling=0)
