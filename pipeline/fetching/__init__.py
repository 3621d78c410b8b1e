"""Fetch plans ► raw tars: the stage fetch-images.

planning  pairs ► units by host                 images, image_headers   bytes ► checked, resized images
rules     options of the network's use          hosts     turns, pauses and patience, host by host
resolver  names ► public addresses              robots    robots.txt
targets   text ► URL that may be requested      client    URL ► checked image, over the network
archived  URL ► checked image, from archives    unit      plan ► raw tar and index     raw   tar members
stage     options and steps
"""

from pipeline.fetching.stage import FetchImages as FetchImages
