"""Fetch plans ► raw tars: the stage fetch-images.

planning  pairs ► units by host                 images    bytes ► checked, resized images; image_headers, file_parts,
                                                          jpeg, chunked, boxes, costs, decoding, colour, resizing,
                                                          pixel_kernels, scratch, hashing, exif
rules     options of the network's use          hosts     turns, pauses and patience, host by host
resolver  names ► public addresses              robots    robots.txt
targets   text ► URL that may be requested      client    URL ► checked image, over the network
archived  URL ► checked image, from archives    unit      plan ► raw tar and index     raw   tar members
stage     options and steps
"""
