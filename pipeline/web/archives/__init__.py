"""Web archives: WARC and WACZ, read from first to last or record by record.

records  what a record holds      streams  its bytes, however the file is compressed
"""
