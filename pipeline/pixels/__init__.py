"""The bytes of a file off the web ► a checked picture as it is stored, or the reason why not. Pure functions.

images        the whole way: what a picture must be, and what it is made into
image_headers, file_parts, jpeg, chunked, boxes: what a file says of itself, format by format
costs         memory and work that decoding will take, told from the header
decoding      bytes ► pixels, damage refused          colour    other profiles ► sRGB
resizing      pixels ► fewer pixels                   kernels   its loops, compiled       scratch   buffers used again
hashing       perceptual hashes                       exif      what cameras wrote down
"""
