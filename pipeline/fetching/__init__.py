"""Fetch plans ► raw tars: the stage fetch-images.

planning  pairs ► units by site          routed_files, grouped_rows: rows on their way to their units
rules     options of the network's use   targets     text ► URL that may be requested
resolver  names ► addresses              addresses   which of them are public
robots, site_files: what a site says     paces       when who may be asked, for all processes of a machine
hosts     one host: turns and patience   client      one request and its answer
crawler   who is asked when              crew        many units at once in a worker
archived  URL ► image, from archives     lookup, searching: where in archives they lie
unit      answers ► raw tar and index    raw         members of a tar      tally   what was done, for watching
stage     options and steps
"""
